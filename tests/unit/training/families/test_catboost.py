"""CatBoost: rows that are hard to learn from, and files that were tampered with."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.errors import CorruptBundle, Infeasible
from optagent.training.families.registry import family_named
from optagent.training.problem import Data

CATBOOST = family_named("catboost")
MakeData = Callable[..., Data]


def train(data: Data, rounds: int = 5, **params: Any) -> Any:
    fit = CATBOOST.start(params, data, np.arange(len(data)))
    fit.advance(rounds)
    return fit.model()


def test_a_row_alone_is_answered_as_among_others(make_data: MakeData) -> None:
    data = make_data(Task.MULTICLASS)
    model = train(data)
    alone = np.concatenate([model.predict(row[None, :]) for row in data.x[:20]])
    np.testing.assert_array_equal(alone, model.predict(data.x)[:20])


def test_a_missing_and_an_unknown_category_are_answered(make_data: MakeData) -> None:
    data = make_data(Task.BINARY)
    rows = data.x[:40].copy()
    rows[:20, 3], rows[20:, 3] = np.nan, 1e6
    answers = train(data).predict(rows)
    assert ((answers > 0) & (answers < 1)).all()


def test_the_same_training_gives_the_same_file(make_data: MakeData, tmp_path: Any) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        train(make_data(Task.BINARY)).save(tmp_path / name)
    assert (tmp_path / "first" / "model.json").read_bytes() == (tmp_path / "second" / "model.json").read_bytes()


@pytest.mark.parametrize("rows", [1, 320])
def test_columns_of_one_value_are_infeasible_in_the_librarys_words(rows: int, make_data: MakeData) -> None:
    data = make_data(Task.REGRESSION, rows=rows, categorical=False)
    with pytest.raises(Infeasible, match=r"^All features are either constant or ignored"):
        train(replace(data, x=np.ones_like(data.x)))


def test_a_target_of_one_value_is_learned(make_data: MakeData) -> None:
    data = make_data(Task.REGRESSION)
    answers = train(replace(data, y=np.full(len(data), 7.5))).predict(data.x)
    np.testing.assert_allclose(answers, 7.5)


def test_a_column_without_a_value_does_no_harm(make_data: MakeData) -> None:
    data = make_data(Task.BINARY)
    data.x[:, 2] = np.nan
    data.x[:, 4] = np.nan
    assert np.isfinite(train(data).predict(data.x)).all()


@pytest.mark.parametrize("task", list(Task))
def test_contributions_sum_to_the_margin(task: Task, make_data: MakeData) -> None:
    data = make_data(task)
    model = train(data)
    contributions = model.contributions(data.x[:50])
    assert contributions.shape == (50, 5)
    assert np.abs(contributions).sum() > 0
    if task is Task.REGRESSION:
        expected = model.predict(data.x[:50]) - contributions.sum(axis=1)
        np.testing.assert_allclose(expected, expected[0])


Change = Callable[[dict[str, Any]], object]


def statistic(document: dict[str, Any]) -> dict[str, Any]:
    """The first statistic of a category's target."""
    return next(each for each in document["features_info"]["ctrs"] if each["ctr_type"] == "Borders")


def table(document: dict[str, Any]) -> dict[str, Any]:
    return document["ctr_data"][statistic(document)["identifier"]]


TAMPERED: dict[str, Change] = {
    "a split that does not exist": lambda m: m["oblivious_trees"][0]["splits"][0].update(split_index=10**6),
    "a negative split": lambda m: m["oblivious_trees"][0]["splits"][0].update(split_index=-1),
    "a border that is not the split's": lambda m: m["oblivious_trees"][0]["splits"][0].update(border=0.123),
    "a leaf too few": lambda m: m["oblivious_trees"][0]["leaf_values"].pop(),
    "a leaf that is no number": lambda m: m["oblivious_trees"][0]["leaf_values"].__setitem__(0, "1"),
    "a weight too many": lambda m: m["oblivious_trees"][0]["leaf_weights"].append(1.0),
    "trees of another kind": lambda m: m.update(trees=m.pop("oblivious_trees")),
    "no trees": lambda m: m["oblivious_trees"].clear(),
    "borders out of order": lambda m: m["features_info"]["float_features"][0]["borders"].reverse(),
    "a column twice": lambda m: m["features_info"]["float_features"][0].update(flat_feature_index=1),
    "a scale": lambda m: m.update(scale_and_bias=[2, m["scale_and_bias"][1]]),
    "a scale that is no number": lambda m: m.update(scale_and_bias=[True, m["scale_and_bias"][1]]),
    "an unknown part": lambda m: m.update(text_processing={}),
    "an unknown feature": lambda m: m["features_info"].update(text_features=[]),
    "a statistic without its table": lambda m: m["ctr_data"].pop(statistic(m)["identifier"]),
    "a class that no table counts": lambda m: statistic(m).update(target_border_idx=1),
    "a statistic of no column": lambda m: statistic(m)["elements"][0].update(cat_feature_index=7),
    "a statistic of another kind": lambda m: statistic(m).update(ctr_type="FloatTargetMeanValue"),
    "a table cut short": lambda m: table(m)["hash_map"].pop(),
    "a negative count": lambda m: table(m)["hash_map"].__setitem__(1, -1),
    "a hash that is too large": lambda m: table(m)["hash_map"].__setitem__(0, str(2**64)),
    "a table of other width": lambda m: table(m).update(hash_stride=1),
}


@pytest.fixture(scope="module")
def saved_model(make_data: MakeData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("catboost")
    train(make_data(Task.BINARY, rows=1500), rounds=20, depth=4).save(folder)
    document = json.loads((folder / "model.json").read_text())
    kinds = {split["split_type"] for tree in document["oblivious_trees"] for split in tree["splits"]}
    assert kinds == {"FloatFeature", "OnlineCtr"}
    return dict(document)


@pytest.mark.parametrize("name", list(TAMPERED))
def test_a_file_that_points_outside_itself_is_refused_before_the_library_sees_it(
    name: str, saved_model: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optagent.training.families.catboost_model._load_booster", lambda text: pytest.fail("loaded"))
    document = copy.deepcopy(saved_model)
    TAMPERED[name](document)
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(CorruptBundle, match=r"^model\.json: "):
        CATBOOST.load(tmp_path, Task.BINARY, 2)


@pytest.mark.parametrize(
    "text", ["[]", "{}", "3", '{"model_info": NaN}', "[" * 100_000, '{"model_info": {"loss": []}}']
)
def test_a_file_of_another_form_is_refused(text: str, tmp_path: Any) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CorruptBundle, match=r"^model\.json: "):
        CATBOOST.load(tmp_path, Task.BINARY, 2)
