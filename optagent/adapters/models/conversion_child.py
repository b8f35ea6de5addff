"""Conversion process: opens a foreign model once and writes it as data, see `conversion`.

It gets a folder with request.json and rows.npy, and writes model/, reference.npy, rounded.npy and told.json there.
"""

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from optagent.adapters.models.conversion import FileKind
from optagent.adapters.models.foreign_model import take_apart
from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidData, InvalidRequest
from optagent.training.families import skops_file
from optagent.training.imported import name_features

_MEMORY, _CPU_S, _FILE = 8 * 2**30, 600, 2 * 2**30
_LIGHTGBM_TYPES = (
    "collections.OrderedDict",
    "collections.defaultdict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.str_",
    "sklearn.preprocessing._label.LabelEncoder",
)


def main(folder: Path) -> None:
    """Converts the model of the request, and writes the answer or the error into told.json."""
    _limit()
    try:
        answer = convert(json.loads((folder / "request.json").read_text(encoding="utf-8")), folder)
    except (InvalidData, InvalidRequest, CorruptBundle) as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        traceback.print_exc()
        answer = {"error": "CorruptBundle", "message": f"the model cannot be opened: {type(error).__name__}: {error}"}
    (folder / "told.json").write_text(json.dumps(answer), encoding="utf-8")


def _limit() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for resource_kind, limit in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_FSIZE, _FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        allowed = resource.getrlimit(resource_kind)[1]
        limit = limit if allowed == resource.RLIM_INFINITY else min(limit, allowed)
        resource.setrlimit(resource_kind, (limit, limit))


def convert(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Opens the model in this process, writes its files and predictions, and returns its description."""
    task = Task(request["task"])
    opened = take_apart(_OPEN[FileKind(request["kind"])](Path(request["file"])), task)
    features = name_features(opened.own_names, opened.columns, request["signature"], request["listed"])
    answer = {
        "family": opened.family,
        "features": list(features),
        "n_classes": opened.n_classes,
        "classes": opened.classes,
        "rounds": opened.rounds,
        "params": dict(opened.params),
    }
    if not set(features) <= set(request["columns"]):
        return answer  # the caller says which columns are missing, and why
    rows = np.load(folder / "rows.npy", allow_pickle=False)[:, [request["columns"].index(name) for name in features]]
    _write_prediction(folder / "reference.npy", opened.predict(rows))
    opened.suit_32_bits()
    _write_prediction(folder / "rounded.npy", opened.predict(rows.astype(np.float32).astype(np.float64)))
    (folder / "model").mkdir()
    opened.save(folder / "model")
    return answer


def _lightgbm_file(path: Path) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=str(path))


def _xgboost_file(path: Path) -> Any:
    import xgboost

    return xgboost.Booster(model_file=str(path))


def _xgboost_sklearn_file(path: Path) -> Any:
    """The booster of any wrapper, which holds the trees and the round at which early stopping stopped."""
    booster = _xgboost_file(path)
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _skops_lightgbm_file(path: Path) -> Any:
    import skops.io

    return skops.io.load(path, trusted=[*_LIGHTGBM_TYPES, *sorted(skops_file.TYPES)])


def _pickle_file(path: Path) -> Any:
    import cloudpickle

    with path.open("rb") as file:
        return cloudpickle.load(file)  # only if the caller trusts it, and only in this process


_OPEN: dict[FileKind, Callable[[Path], Any]] = {
    FileKind.LIGHTGBM: _lightgbm_file,
    FileKind.XGBOOST: _xgboost_file,
    FileKind.XGBOOST_SKLEARN: _xgboost_sklearn_file,
    FileKind.SKOPS: skops_file.load,
    FileKind.SKOPS_LIGHTGBM: _skops_lightgbm_file,
    FileKind.PICKLE: _pickle_file,
}


def _write_prediction(path: Path, prediction: Any) -> None:
    np.save(path, np.asarray(prediction, dtype=np.float64), allow_pickle=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
