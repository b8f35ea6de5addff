"""MLflow source: the description of an MLflow model, read from its MLmodel file without opening the model."""

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
    """One MLflow model on disk: its flavor, the kind and the path of its file, and its column names."""

    flavor: str
    kind: FileKind
    path: Path
    signature: tuple[str, ...] | None


def read_source(folder: Path, uri: str) -> MlflowSource:
    """The source in a folder; InvalidRequest if it is no MLflow model, or of a flavor that cannot be imported."""
    path = folder / "MLmodel"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        flavors = dict(content["flavors"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        raise InvalidRequest(f"{uri}: not an MLflow model: {path.name}: {error!r}") from None
    for flavor in ("lightgbm", "xgboost", "sklearn"):
        if isinstance(flavors.get(flavor), Mapping):
            return _read_flavor(flavor, flavors[flavor], folder, uri, content)
    if "optagent.training.pyfunc" in str(flavors):
        raise InvalidRequest(f"{uri}: this is a version that optagent registered itself")
    raise InvalidRequest(f"{uri}: a model of the flavors {sorted(flavors)}; {SUPPORTED}")


def _read_flavor(
    flavor: str, flavor_config: Mapping[str, Any], folder: Path, uri: str, content: Mapping[str, Any]
) -> MlflowSource:
    name = flavor_config.get("pickled_model" if flavor == "sklearn" else "data")
    if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InvalidRequest(f"{uri}: its MLmodel names the file {name!r}, which is not one of the model's")
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise InvalidRequest(f"{uri}: its file {name} is missing")
    return MlflowSource(flavor, _file_kind(flavor, flavor_config, path), path, _input_names(content))


def _file_kind(flavor: str, flavor_config: Mapping[str, Any], path: Path) -> FileKind:
    """The kind of the model's file; every unknown kind counts as a pickle, as it does for MLflow."""
    model_class = flavor_config.get("model_class", _BOOSTERS.get(flavor))
    if flavor == "xgboost":
        is_booster = model_class == _BOOSTERS[flavor]
        return FileKind.XGBOOST if is_booster else FileKind.XGBOOST_SKLEARN
    if flavor == "lightgbm" and model_class == _BOOSTERS[flavor]:
        return FileKind.LIGHTGBM
    if flavor_config.get("serialization_format") != "skops" or path.suffix != ".skops":
        return FileKind.PICKLE
    return FileKind.SKOPS_LIGHTGBM if flavor == "lightgbm" else FileKind.SKOPS


def _input_names(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The names of the inputs; None where there is no signature, or one of tensors without names."""
    try:
        inputs = json.loads(content["signature"]["inputs"])
        return tuple(str(column["name"]) for column in inputs)
    except (KeyError, TypeError, ValueError):
        return None
