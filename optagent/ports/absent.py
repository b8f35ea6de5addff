"""Absent ports: stand in for adapters whose library is not installed, and refuse with the command that installs it."""

from collections.abc import Callable
from typing import Any, NoReturn

from optagent.domain.model import ModelVersion
from optagent.errors import ModelNotFound
from optagent.extras import missing_library


class AbsentPort:
    """Every call raises MissingExtra, except `check` and `close`: an agent that never needs the port works."""

    def __init__(self, library: str, purpose: str, extra: str | None = None) -> None:
        self._library = library
        self._purpose = purpose
        self._extra = extra

    def check(self) -> None:
        """Does nothing, since nothing is there that could fail to answer."""

    def close(self) -> None:
        """Does nothing, as nothing was opened."""

    def refuse(self, *given: Any, **named: Any) -> NoReturn:
        """Raises MissingExtra, whatever is asked."""
        raise missing_library(self._library, self._purpose, self._extra)

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.refuse


class AbsentRegistry(AbsentPort):
    """A registry of a home that has none: it has no versions, and none can be registered."""

    def version(self, model_id: str, alias_or_version: str) -> ModelVersion:
        raise ModelNotFound(f"{model_id} {alias_or_version}: there is no registry, since MLflow is not installed")

    def versions(self, model_id: str) -> list[ModelVersion]:
        return []


def require_present(port: Any) -> None:
    """Raises MissingExtra for an absent port: to be called before work that comes to need it late."""
    if isinstance(port, AbsentPort):
        port.refuse()
