"""Former name of `simple_family`, by which users' families import it."""

from optagent.training.families.simple_family import SimpleFamily

__all__ = ["SimpleFamily"]
