"""Foreign models: takes a model of another program apart into what a bundle needs, in the conversion process only."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optagent.adapters.models.foreign_lightgbm import normalise_text, read_parameters
from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.training.families import lightgbm_family, sklearn_imported, sklearn_model, skops_file, xgboost_family


@dataclass
class ForeignModel:
    """A model taken apart: its prediction by its own library, and the writer of its files as a family's."""

    family: str
    own_names: list[str] | None
    columns: int
    predict: Callable[[np.ndarray], np.ndarray]
    save: Callable[[Path], None]
    suit_32_bits: Callable[[], None] = lambda: None
    n_classes: int = 0
    classes: list[Any] | None = None
    rounds: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)


def take_apart(model: Any, task: Task) -> ForeignModel:
    """The parts of the model; InvalidRequest, with the reason, if our families cannot express it."""
    library = type(model).__module__.partition(".")[0]
    if library == "lightgbm":
        return _lightgbm(model, task)
    if library == "xgboost":
        return _xgboost(model, task)
    if library == "sklearn":
        return _sklearn(model, task)
    raise InvalidRequest(
        f"a {type(model).__module__}.{type(model).__name__}: LightGBM, XGBoost or scikit-learn is needed"
    )


def _lightgbm(model: Any, task: Task) -> ForeignModel:
    import lightgbm

    wrapped = isinstance(model, lightgbm.LGBMModel)
    booster = model.booster_ if wrapped else model
    best = (model.best_iteration_ if wrapped else booster.best_iteration) or None
    text = booster.model_to_string(num_iteration=best)
    normalised_text = normalise_text(text, task)
    params = read_parameters(text)
    classes = model.classes_.tolist() if isinstance(model, lightgbm.LGBMClassifier) else None
    trees = booster.num_model_per_iteration()
    return ForeignModel(
        family="lightgbm",
        own_names=booster.feature_name(),
        columns=booster.num_feature(),
        predict=lambda rows: booster.predict(rows, num_iteration=best),
        save=lambda folder: _write(folder / lightgbm_family.FILE, normalised_text.encode()),
        n_classes={Task.BINARY: 2, Task.REGRESSION: 0}.get(task, trees),
        classes=classes,
        rounds=max(1, best or booster.current_iteration()),
        params=params,
    )


def _xgboost(model: Any, task: Task) -> ForeignModel:
    import xgboost

    booster = model
    if not isinstance(model, xgboost.Booster):
        best = model.get_booster().attr("best_iteration")
        booster = model.get_booster() if best is None else model.get_booster()[: int(best) + 1]
    names, kinds = booster.feature_names, booster.feature_types
    _refuse_xgboost(json.loads(booster.save_config())["learner"], kinds, task)
    booster.feature_names = booster.feature_types = None
    # The wrapper keeps its own parameters in the attributes; they do not belong to the trees.
    booster.set_attr(**dict.fromkeys(booster.attributes()))
    classes = int(json.loads(booster.save_config())["learner"]["learner_model_param"]["num_class"])
    return ForeignModel(
        family="xgboost",
        own_names=names,
        columns=booster.num_features(),
        predict=lambda rows: booster.predict(xgboost.DMatrix(rows)),
        save=lambda folder: _write(folder / xgboost_family.FILE, bytes(booster.save_raw("ubj"))),
        n_classes={Task.BINARY: 2, Task.REGRESSION: 0}.get(task, classes),
        rounds=booster.num_boosted_rounds(),
    )


def _refuse_xgboost(config: Mapping[str, Any], kinds: list[str] | None, task: Task) -> None:
    wanted, objective = xgboost_family.OBJECTIVES[task], config["objective"]["name"]
    if objective != wanted:
        raise InvalidRequest(f"an XGBoost model of the objective {objective} for a {task} model; {wanted} is needed")
    if config["gradient_booster"]["name"] != "gbtree":
        raise InvalidRequest(f"an XGBoost model of {config['gradient_booster']['name']}; gbtree is needed")
    if int(config["gradient_booster"]["gbtree_model_param"]["num_parallel_tree"]) != 1:
        raise InvalidRequest("XGBoost's random forests (num_parallel_tree above 1) cannot be imported")
    if kinds and "c" in kinds:
        raise InvalidRequest("an XGBoost model with categorical columns cannot be imported: numeric columns only")


def _sklearn(model: Any, task: Task) -> ForeignModel:
    wanted = "predict_proba" if task.classifies else "predict"
    if (
        not hasattr(model, wanted)
        or not hasattr(model, "n_features_in_")
        or task.classifies != hasattr(model, "classes_")
    ):
        raise InvalidRequest(f"a {type(model).__name__} for a {task} model; a fitted model with {wanted} is needed")
    if "n_jobs" in model.get_params():
        model.set_params(n_jobs=1)
    names = getattr(model, "feature_names_in_", None)
    classes = model.classes_.tolist() if task.classifies else None

    def predict(rows: np.ndarray) -> np.ndarray:
        import pandas as pd

        table: Any = rows if names is None else pd.DataFrame(rows, columns=names)
        prediction = np.asarray(getattr(model, wanted)(table), dtype=np.float64)
        return prediction[:, 1] if task is Task.BINARY and prediction.shape[1] == 2 else prediction

    return ForeignModel(
        family=sklearn_imported.ImportedSklearn.name,
        own_names=None if names is None else [str(name) for name in names],
        columns=int(model.n_features_in_),
        predict=predict,
        save=lambda folder: skops_file.save(model, folder / sklearn_model.FILE),
        suit_32_bits=lambda: _round_thresholds(model),
        n_classes=0 if classes is None else len(classes),
        classes=classes,
    )


def _round_thresholds(model: Any) -> None:
    """Rounds thresholds to 32 bits like the rows: histogram boosting splits at training values, and a rounded value
    could lie on either side of an exact threshold."""
    for tree in (tree for trees in getattr(model, "_predictors", ()) for tree in trees):
        nodes = tree.nodes.copy()
        nodes["num_threshold"] = nodes["num_threshold"].astype(np.float32)
        tree.nodes = nodes


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
