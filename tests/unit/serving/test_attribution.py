"""Attribution: contributions equal those of the libraries, or the definition, and sum to the margin of the answer."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import pyarrow as pa
import pytest

from optagent.arrays import Matrix, Prediction
from optagent.domain.model import Task
from optagent.errors import Conflict
from optagent.serving import attribution_trees, tree_arrays
from optagent.serving.attribution import Attributor, make_attributor
from optagent.serving.attribution_data import pack_arrays, read_attribution, unpack_arrays
from optagent.training.average import HardVote, WeightedMean
from optagent.training.encoding import encode
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.ensemble import EnsembleModel
from optagent.training.families.parts import ModelPart
from optagent.training.plan import FeaturePlan
from optagent.training.predictor import Predictor
from optagent.training.stack import Stack, StackColumn
from optagent.training.steps import GroupMean, Product

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]
FAMILIES = ("lightgbm", "xgboost", "catboost", "hist_gradient_boosting", "random_forest", "extra_trees", "linear")


def attributor_of(predictor: Predictor) -> Attributor:
    """As a gateway makes it: from bytes."""
    return make_attributor(unpack_arrays(pack_arrays(read_attribution(predictor))))


def margins(predictor: Predictor, scores: Prediction, unit: str) -> Prediction:
    """(rows, outputs) on the scale of the contributions; of several classes, up to one number for each row."""
    scores = scores.reshape(len(scores), -1)
    if unit != "log-odds":
        return scores
    return np.log(scores) - np.log1p(-scores) if scores.shape[1] == 1 else np.log(scores)


@pytest.fixture(params=list(Task))
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.mark.parametrize("family", FAMILIES)
def test_contributions_and_base_sum_to_the_margin(
    family: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor(family, task)
    x = encode(make_served_rows(task), predictor.schema)[:60]
    check_additivity(predictor, x)


def check_additivity(predictor: Predictor, x: Matrix, tolerance: float = 2e-6) -> None:
    attributor = attributor_of(predictor)
    sums = attributor.contributions(x).sum(axis=2) + attributor.base
    expected = margins(predictor, predictor.scores(x), str(read_attribution(predictor)["unit"]))
    if expected.shape[1] > 1:
        sums, expected = sums - sums.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(sums, expected, rtol=tolerance, atol=tolerance)


DEEP = {"lightgbm": {"num_leaves": 64, "min_data_in_leaf": 1}, "xgboost": {"max_depth": 12, "min_child_weight": 0.1}}


@pytest.mark.parametrize("shape", ["default", "deep"])
@pytest.mark.parametrize("family", DEEP)
def test_contributions_are_those_of_the_library(
    family: str, shape: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    deep = {
        "lightgbm": {"num_leaves": 64, "min_data_in_leaf": 1},
        "xgboost": {"max_depth": 12, "min_child_weight": 0.1},
    }
    predictor = make_predictor(family, task, **(deep[family] if shape == "deep" else {}))
    x = encode(make_served_rows(task), predictor.schema)[:80]
    attributor = attributor_of(predictor)
    expected = library_contributions(predictor, x)
    np.testing.assert_allclose(attributor.contributions(x), expected[:, :, :-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.tile(attributor.base, (len(x), 1)), expected[:, :, -1], rtol=1e-6, atol=1e-6)


def library_contributions(predictor: Predictor, x: Matrix) -> np.ndarray:
    """(rows, outputs, columns and the base) by the library itself."""
    booster = predictor.model._booster  # type: ignore[attr-defined]
    if predictor.manifest.family == "lightgbm":
        return np.asarray(booster.predict(x, pred_contrib=True)).reshape(len(x), -1, x.shape[1] + 1)
    import xgboost

    rows = xgboost.DMatrix(x, feature_types=booster.feature_types, enable_categorical=True, nthread=1)
    return booster.predict(rows, pred_contribs=True).reshape(len(x), -1, x.shape[1] + 1)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"one_hot_max_size": 255},
        {"one_hot_max_size": 2, "max_ctr_complexity": 1},
        {"one_hot_max_size": 2, "max_ctr_complexity": 4, "depth": 8},
        {"boosting_type": "Ordered", "max_ctr_complexity": 2},
    ],
    ids=str,
)
def test_contributions_are_those_of_catboost_on_numbers_categories_and_their_statistics(
    params: dict[str, object], task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("catboost", task, **params)
    x = encode(make_served_rows(task), predictor.schema)[:80]
    attributor = attributor_of(predictor)
    pool = predictor.model._pool(x)  # type: ignore[attr-defined]
    values = predictor.model._booster.get_feature_importance(pool, type="ShapValues")  # type: ignore[attr-defined]
    expected = np.asarray(values).reshape(len(x), -1, x.shape[1] + 1)
    np.testing.assert_allclose(attributor.contributions(x), expected[:, :, :-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.tile(attributor.base, (len(x), 1)), expected[:, :, -1], rtol=1e-6, atol=1e-6)


SMALL = {"hist_gradient_boosting": {"max_leaf_nodes": 8}, "extra_trees": {"max_depth": 3}}


@pytest.mark.parametrize("family", SMALL)
def test_contributions_are_shapley_values_of_the_expectation_along_the_trees(
    family: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    """Lundberg et al. 2020, algorithm 1, summed over all subsets of columns as Shapley's formula has it."""
    predictor = make_predictor(family, task, 2, **SMALL[family])
    arrays = read_attribution(predictor)
    x = encode(make_served_rows(task), predictor.schema)[:3]
    contributions = attributor_of(predictor).contributions(x)
    for row, found in zip(x, contributions, strict=True):
        np.testing.assert_allclose(found, shapley_values(arrays, row), atol=1e-12)


def shapley_values(arrays: dict[str, np.ndarray], row: Matrix) -> np.ndarray:
    """(outputs, columns) by the definition."""
    outputs, columns = int(arrays["outputs"]), int(arrays["columns"])
    values = np.zeros((outputs, columns))
    ends = [*arrays["roots"][1:], len(arrays["left"])]
    for root, end in zip(arrays["roots"], ends, strict=True):
        inner = [node for node in range(root, end) if arrays["left"][node] >= 0]
        players = sorted({int(arrays["player"][node]) for node in inner})
        for player in players:
            source = int(arrays["source"][next(node for node in inner if arrays["player"][node] == player)])
            others = [other for other in players if other != player]
            for size in range(len(others) + 1):
                weight = factorial(size) * factorial(len(players) - size - 1) / factorial(len(players))
                for known in combinations(others, size):
                    gain = expected_value(arrays, root, row, {*known, player}) - expected_value(
                        arrays, root, row, set(known)
                    )
                    values[arrays["output"][root], source] += weight * gain / arrays["mean_of"]
    return values


def expected_value(arrays: dict[str, np.ndarray], node: int, row: Matrix, known: set[int]) -> float:
    left, right = int(arrays["left"][node]), int(arrays["right"][node])
    if left < 0:
        return float(arrays["value"][node])
    if int(arrays["player"][node]) in known:
        return expected_value(arrays, left if goes_left(arrays, node, row) else right, row, known)
    cover = arrays["cover"]
    return sum(float(cover[child] / cover[node]) * expected_value(arrays, child, row, known) for child in (left, right))


def goes_left(arrays: dict[str, np.ndarray], node: int, row: Matrix) -> bool:
    value, threshold = row[arrays["source"][node]], arrays["threshold"][node]
    if np.isnan(value):
        return bool(arrays["missing_left"][node])
    if np.isnan(threshold):
        codes = arrays["members"][int(np.isnan(arrays["threshold"][:node]).sum())]
        return bool(codes[int(value)]) if value < len(codes) else False
    return bool(value <= threshold)


def test_a_forest_too_large_to_keep_tables_of_is_attributed_alike_in_many_blocks(
    monkeypatch: pytest.MonkeyPatch, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("random_forest", Task.MULTICLASS)
    x = encode(make_served_rows(Task.MULTICLASS), predictor.schema)[:5]
    expected = attributor_of(predictor).contributions(x)
    monkeypatch.setattr(tree_arrays, "BLOCK_NODES", 100)
    monkeypatch.setattr(attribution_trees, "MOST_KEPT", 0)
    np.testing.assert_allclose(attributor_of(predictor).contributions(x), expected, atol=1e-14)


def test_a_tree_of_one_leaf_adds_to_the_base_alone(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    predictor = make_predictor("lightgbm", Task.REGRESSION, 2, min_data_in_leaf=1_000)
    x = encode(make_served_rows(Task.REGRESSION), predictor.schema)[:2]
    attributor = attributor_of(predictor)
    assert not attributor.contributions(x).any()
    np.testing.assert_allclose(attributor.base, predictor.scores(x)[0])


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_a_linear_contribution_is_the_coefficient_times_the_deviation_from_the_mean(
    scaling: str, task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    predictor = make_predictor("linear", task, 81, scaling=scaling)
    x = encode(make_served_rows(task), predictor.schema)
    contributions = attributor_of(predictor).contributions(x)
    np.testing.assert_allclose(contributions.mean(axis=0), 0.0, atol=2e-6)  # the rows are those of the training
    pipeline = predictor.model._estimator  # type: ignore[attr-defined]
    columns = pipeline["columns"].transform(x)
    by_output = (columns - columns.mean(axis=0)) * np.atleast_2d(pipeline["model"].coef_)[0]
    np.testing.assert_allclose(contributions[:, 0].sum(axis=1), by_output.sum(axis=1), atol=1e-5)
    check_additivity(predictor, x, 1e-5)


def test_a_linear_model_of_before_is_named_as_one_to_train_again(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("linear", Task.BINARY, 40)
    del predictor.model._estimator["model"].column_means_  # type: ignore[attr-defined]
    with pytest.raises(Conflict, match="train it again"):
        read_attribution(predictor)


def make_combined(make_predictor: MakePredictor, task: Task, combined: object, families: tuple[str, ...]) -> Predictor:
    members = {name: ModelPart(name, make_predictor(name, task).model) for name in families}
    return as_family(make_predictor(families[0], task), "ensemble", EnsembleModel(combined, members))  # type: ignore[arg-type]


def as_family(predictor: Predictor, family: str, model: object) -> Predictor:
    return Predictor(replace(predictor.manifest, family=family), predictor.schema, model)  # type: ignore[arg-type]


def test_a_mean_of_values_is_the_mean_of_contributions(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    names = ("lightgbm", "random_forest", "linear")
    mean = WeightedMean(Task.REGRESSION, names, (0.5, 0.3, 0.2))
    predictor = make_combined(make_predictor, Task.REGRESSION, mean, names)
    check_additivity(predictor, encode(make_served_rows(Task.REGRESSION), predictor.schema)[:50])


def test_a_stack_adds_the_members_log_odds_and_its_own_columns(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    outputs, names = 3 if task is Task.MULTICLASS else 1, ("lightgbm", "linear")
    column = StackColumn(1, 0.1, 2.0, (0.3,) * outputs)
    stack = Stack(task, names, (0.7, 0.4), (0.2,) * outputs, (column,))
    predictor = make_combined(make_predictor, task, stack, names)
    check_additivity(predictor, encode(make_served_rows(task), predictor.schema)[:50])


def test_an_ensemble_that_adds_on_another_scale_than_its_members_is_refused(make_predictor: MakePredictor) -> None:
    names = ("lightgbm", "random_forest")
    for combined, said in (
        (WeightedMean(Task.BINARY, names, (0.5, 0.5)), "adds probabilities.*log-odds"),
        (Stack(Task.BINARY, names, (0.5, 0.5), (0.0,)), "adds log-odds.*probabilities"),
        (HardVote(Task.BINARY, names, (0.5, 0.5)), "votes"),
    ):
        with pytest.raises(Conflict, match=said):
            read_attribution(make_combined(make_predictor, Task.BINARY, combined, names))


def test_a_computed_column_is_shared_by_the_columns_that_it_is_made_of(
    make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    plain = make_predictor("lightgbm", Task.REGRESSION)
    names = plain.schema.names
    # The inner model takes as many columns as before: the last two are those of the steps.
    plan = FeaturePlan(names, (Product("a", "b"), GroupMean("city", "a", (0.1, 0.2, -0.3))), ("count", "shop"))
    predictor = as_family(plain, "engineered", EngineeredModel(plan, ModelPart("lightgbm", plain.model)))
    x = encode(make_served_rows(Task.REGRESSION), predictor.schema)[:50]
    check_additivity(predictor, x)
    attributor = attributor_of(predictor)
    inner = attributor._inner.contributions(attributor._transform(x))  # type: ignore[attr-defined]
    a, b, city = (names.index(name) for name in ("a", "b", "city"))
    product, means = inner[:, :, -2], inner[:, :, -1]
    kept = plan.kept_columns
    contributions = attributor.contributions(x)
    np.testing.assert_allclose(contributions[:, :, a], inner[:, :, kept.index("a")] + product / 2 + means / 2)
    np.testing.assert_allclose(contributions[:, :, b], inner[:, :, kept.index("b")] + product / 2)
    np.testing.assert_allclose(contributions[:, :, city], inner[:, :, kept.index("city")] + means / 2)


def test_a_family_without_reasons_names_those_that_have(make_predictor: MakePredictor) -> None:
    predictor = make_predictor("lightgbm", Task.BINARY)
    with pytest.raises(Conflict, match="sklearn_imported gives no reasons: lightgbm, xgboost"):
        read_attribution(as_family(predictor, "sklearn_imported", predictor.model))
