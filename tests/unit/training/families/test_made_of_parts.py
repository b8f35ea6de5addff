"""Models made of parts: ensembles and models with a plan are stored as data, and predict as they did before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.errors import CorruptBundle, InvalidData, InvalidRequest
from optagent.training.average import HardVote, WeightedMean
from optagent.training.combined import Combined
from optagent.training.families.engineered import PLAN, Engineered, EngineeredModel
from optagent.training.families.ensemble import WEIGHTS, Ensemble, EnsembleModel
from optagent.training.families.parts import PARTS, ModelPart
from optagent.training.families.registry import FAMILIES, OURS, family_named
from optagent.training.plan import FeaturePlan
from optagent.training.problem import Data
from optagent.training.recipe import Recipe, train_recipe
from optagent.training.stack import Stack, StackColumn
from optagent.training.steps import Difference, GroupMean, Product, Ratio

NAMES = ("a", "b", "c")
PLAN_OF = FeaturePlan(
    NAMES, (Product("a", "b"), Ratio("a", "b"), Difference("b", "a"), GroupMean("c", "a", (0.5, -0.5, 1.0))), ("b",)
)


def data_of(task: Task) -> Data:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 3)).astype(np.float32)
    x[:, 2] = rng.integers(0, 3, 120)
    x[rng.random(x.shape) < 0.05] = np.nan
    signal = np.nan_to_num(x[:, 0] * x[:, 1]) + np.nan_to_num(x[:, 2])
    y = {
        Task.BINARY: (signal > np.median(signal)).astype(float),
        Task.MULTICLASS: np.digitize(signal, np.quantile(signal, [0.3, 0.7])).astype(float),
        Task.REGRESSION: signal.astype(float),
    }[task]
    classes = {Task.BINARY: 2, Task.MULTICLASS: 3, Task.REGRESSION: 0}[task]
    return Data(x, y, NAMES, task, (2,), (3,), classes)


def part(family: str, data: Data) -> ModelPart:
    from optagent.training.problem import Problem

    params = family_named(family).defaults(data.task)
    return ModelPart(family, train_recipe(Problem(data, ()), Recipe(family, family, params, 5)))


def combined_of(kind: str, task: Task) -> Combined:
    names, weights = ("lin: ear", "trees"), (0.25, 0.75)
    if kind == "weighted_mean":
        return WeightedMean(task, names, weights)
    if kind == "hard_vote":
        return HardVote(task, names, weights)
    outputs = 3 if task is Task.MULTICLASS else 1
    return Stack(task, names, weights, (0.1,) * outputs, (StackColumn(0, 0.0, 1.0, (0.3,) * outputs),))


KINDS = [(kind, task) for kind in ("weighted_mean", "hard_vote", "stack") for task in Task]


@pytest.mark.parametrize(("kind", "task"), [one for one in KINDS if one != ("hard_vote", Task.REGRESSION)])
def test_an_ensemble_that_was_kept_answers_bit_for_bit_as_before(kind: str, task: Task, tmp_path: Path):
    data = data_of(task)
    model = EnsembleModel(combined_of(kind, task), {"trees": part("lightgbm", data), "lin: ear": part("linear", data)})
    model.save(tmp_path)
    loaded = Ensemble(OURS).load(tmp_path, task, data.n_classes)
    expected = model.predict(data.x)
    assert np.array_equal(loaded.predict(data.x), expected)
    alone = np.concatenate([loaded.predict(data.x[[row]]) for row in range(10)])
    np.testing.assert_allclose(alone, expected[:10], atol=1e-6)  # the linear family adds up in another order
    assert loaded.importances().shape == (3,)
    assert abs(loaded.importances().sum() - 1) < 1e-9


@pytest.mark.parametrize("task", Task)
def test_a_model_behind_a_plan_that_was_kept_answers_bit_for_bit_as_before(task: Task, tmp_path: Path):
    data = data_of(task)
    from optagent.training.problem import Problem

    recipe = Recipe("with", "lightgbm", family_named("lightgbm").defaults(task), 5, PLAN_OF)
    model = train_recipe(Problem(data, ()), recipe)
    assert isinstance(model, EngineeredModel)
    model.save(tmp_path)
    loaded = Engineered(OURS).load(tmp_path, task, data.n_classes)
    assert loaded.plan == PLAN_OF
    assert np.array_equal(loaded.predict(data.x), model.predict(data.x))
    assert np.array_equal(loaded.predict(data.x[[7]]), model.predict(data.x)[[7]])
    assert abs(loaded.importances().sum() - 1) < 1e-9


def test_an_ensemble_can_have_members_behind_plans(tmp_path: Path):
    data = data_of(Task.BINARY)
    inner = EngineeredModel(FeaturePlan(NAMES), part("linear", data))
    members = {"trees": part("lightgbm", data), "lin: ear": ModelPart("engineered", inner)}
    model = EnsembleModel(combined_of("weighted_mean", Task.BINARY), members)
    model.save(tmp_path)
    assert np.array_equal(Ensemble(OURS).load(tmp_path, Task.BINARY, 2).predict(data.x), model.predict(data.x))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    data = data_of(Task.BINARY)
    members = {"trees": part("lightgbm", data), "lin: ear": part("linear", data)}
    EnsembleModel(combined_of("weighted_mean", Task.BINARY), members).save(tmp_path)
    return tmp_path


def edited(path: Path, change: dict[str, Any] | list[Any]) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(change if isinstance(change, list) else {**found, **change}))


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (WEIGHTS, {"weights": [0.5, 0.6]}, "sum to 1"),
        (WEIGHTS, {"names": ["trees", "others"]}, "weights of"),
        (WEIGHTS, {"kind": "magic"}, "unknown kind of ensemble 'magic'"),
        (PARTS, [], "parts with different names"),
        (PARTS, [{"name": "trees", "family": "os:system"}], "is not one of ours"),
        (PARTS, [{"name": "trees"}], "not a list of parts"),
    ],
)
def test_an_ensemble_whose_files_do_not_fit_each_other_is_not_loaded(
    kept: Path, file: str, change: dict[str, Any] | list[Any], said: str
):
    edited(kept / file, change)
    with pytest.raises(CorruptBundle, match=said):
        Ensemble(OURS).load(kept, Task.BINARY, 2)


def test_a_missing_member_is_told(kept: Path):
    for file in sorted((kept / "part1").iterdir()):
        file.unlink()
    with pytest.raises(CorruptBundle):
        Ensemble(OURS).load(kept, Task.BINARY, 2)


def test_a_plan_that_is_none_is_not_loaded(tmp_path: Path):
    EngineeredModel(FeaturePlan(NAMES), part("linear", data_of(Task.BINARY))).save(tmp_path)
    (tmp_path / PLAN).write_text('{"columns": ["a"], "steps": [{"kind": "product", "a": "a", "b": "z"}]}')
    with pytest.raises(CorruptBundle, match="needs the column 'z'"):
        Engineered(OURS).load(tmp_path, Task.BINARY, 2)


def test_a_model_of_a_users_own_family_is_no_part(tmp_path: Path):
    data = data_of(Task.BINARY)
    members = {"trees": part("lightgbm", data), "lin: ear": ModelPart("my.module:Family", part("linear", data).model)}
    with pytest.raises(InvalidRequest, match="of your own"):
        EnsembleModel(combined_of("weighted_mean", Task.BINARY), members).save(tmp_path)


def test_rows_of_other_columns_are_refused():
    with pytest.raises(InvalidData, match="3 columns"):
        EngineeredModel(FeaturePlan(NAMES), part("linear", data_of(Task.BINARY))).predict(np.zeros((1, 2), np.float32))


def test_no_search_offers_what_is_made_of_parts():
    assert not {"ensemble", "engineered"} & set(FAMILIES)
    for name in ("ensemble", "engineered"):
        with pytest.raises(InvalidRequest, match="not trained as"):
            family_named(name).start({}, data_of(Task.BINARY), np.arange(3))
