"""What an MLflow model says of itself, read from its MLmodel file; nothing of the model is opened."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from optagent.adapters.models.conversion import FileKind
from optagent.errors import InvalidRequest

SUPPORTED = "MLflow's lightgbm, xgboost and sklearn models can be imported"
_BOOSTERS = {"lightgbm": "lightgbm.basic.Booster", "xgboost": "xgboost.core.Booster"}


@dataclass(frozen=True, slots=True)
class MlflowSource:
    """One MLflow model on disk: its flavor, the file of its weights, how that file is opened, and its column names."""

    flavor: str
    kind: FileKind
    path: Path
    signature: tuple[str, ...] | None


def read_source(folder: Path, uri: str) -> MlflowSource:
    """Raises InvalidRequest for what is no MLflow model, or one of a flavor that cannot be imported."""
    path = folder / "MLmodel"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        flavors = dict(content["flavors"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise InvalidRequest(f"{uri}: not an MLflow model: {path.name}: {error!r}") from None
    for flavor in ("lightgbm", "xgboost", "sklearn"):
        if isinstance(flavors.get(flavor), Mapping):
            return _source(flavor, flavors[flavor], folder, uri, content)
    if "optagent.training.pyfunc" in str(flavors):
        raise InvalidRequest(f"{uri}: this is a version that optagent registered itself")
    raise InvalidRequest(f"{uri}: a model of the flavors {sorted(flavors)}; {SUPPORTED}")


def _source(flavor: str, told: Mapping[str, Any], folder: Path, uri: str, content: Mapping[str, Any]) -> MlflowSource:
    name = told.get("pickled_model" if flavor == "sklearn" else "data")
    if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InvalidRequest(f"{uri}: its MLmodel names the file {name!r}, which is not one of the model's")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise InvalidRequest(f"{uri}: its file {name} is missing")
    return MlflowSource(flavor, _kind(flavor, told, path), path, _signature(content))


def _kind(flavor: str, told: Mapping[str, Any], path: Path) -> FileKind:
    """What is not known to be anything else counts as a pickle, as it does for MLflow."""
    model_class = told.get("model_class", _BOOSTERS.get(flavor))
    if flavor == "xgboost":
        booster = model_class == _BOOSTERS[flavor]
        return FileKind.XGBOOST if booster else FileKind.XGBOOST_SKLEARN
    if flavor == "lightgbm" and model_class == _BOOSTERS[flavor]:
        return FileKind.LIGHTGBM
    if told.get("serialization_format") != "skops" or path.suffix != ".skops":
        return FileKind.PICKLE
    return FileKind.SKOPS_LIGHTGBM if flavor == "lightgbm" else FileKind.SKOPS


def _signature(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the inputs; None where there is no signature, or one of tensors without names."""
    try:
        inputs = json.loads(content["signature"]["inputs"])
        return tuple(str(column["name"]) for column in inputs)
    except (KeyError, TypeError, ValueError):
        return None
