"""Extras: the optional libraries, and the refusal of work for which one of them is not installed."""

from collections.abc import Mapping
from importlib.util import find_spec

from optagent.errors import MissingExtra

EXTRAS: Mapping[str, str] = {
    "apprise": "notify",
    "catboost": "catboost",
    "fastapi": "serve",
    "hyperopt": "search",
    "jinja2": "pages",
    "mlflow": "mlflow",
    "onnx": "serve",
    "onnxruntime": "serve",
    "optuna": "search",
    "plotly": "pages",
    "ray": "search",
    "sqlalchemy": "sql",
    "xgboost": "search",
}
"""The smallest extra of optagent that installs each optional library."""


def is_installed(library: str) -> bool:
    """True where the library can be imported; it is not imported for that."""
    return find_spec(library) is not None


def require_library(library: str, purpose: str, extra: str | None = None) -> None:
    """Raises MissingExtra, with the command that installs it, where a library that `purpose` needs is absent.

    `extra` is the one to install where the purpose needs more than this library.
    """
    if not is_installed(library):
        raise missing_library(library, purpose, extra)


def missing_library(library: str, purpose: str, extra: str | None = None) -> MissingExtra:
    """The refusal of a purpose whose library is absent."""
    command = f'pip install "optagent[{extra or EXTRAS[library]}]"'
    return MissingExtra(f"{purpose} needs {library}, which is not installed: {command}")


def missing_import(error: ModuleNotFoundError) -> MissingExtra | None:
    """The refusal that an import's failure means; None where the module is of no optional library."""
    library = (error.name or "").partition(".")[0]
    return missing_library(library, "this command") if library in EXTRAS else None
