"""What the loop needs from outside. Each port has an in-memory adapter and a real one, held to one contract suite."""

from optagent.ports.data import Clock, Datasets, Observations, Recorded
from optagent.ports.models import Importer, Registry
from optagent.ports.notifying import Notifier
from optagent.ports.search import OnProgress, OnTrial, Studies, Tracker, Tuner
from optagent.ports.serving import KeptAnswers, Launcher, Loader, Routes, Tokens
from optagent.ports.state import Monitors, Store
from optagent.ports.workers import Crew, Workers

__all__ = [
    "Clock",
    "Crew",
    "Datasets",
    "Importer",
    "KeptAnswers",
    "Launcher",
    "Loader",
    "Monitors",
    "Notifier",
    "Observations",
    "OnProgress",
    "OnTrial",
    "Recorded",
    "Registry",
    "Routes",
    "Store",
    "Studies",
    "Tokens",
    "Tracker",
    "Tuner",
    "Workers",
]
