"""Fake routes: those of the product that live in memory."""

from optagent.adapters.in_memory.routes import InMemoryRoutes as InMemoryRoutes
