"""Ensembles and models behind a plan: each compiles to one graph that gives the same answers."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.ensembles.bags import KINDS, bag_mean, bag_recipes
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.parity import TOLERANCE, largest_difference, probe_rows, score_answerable_rows
from optagent.training.average import HardVote, WeightedMean
from optagent.training.encoding import encode, load_data
from optagent.training.families.engineered import EngineeredModel
from optagent.training.families.ensemble import EnsembleModel
from optagent.training.families.parts import ModelPart
from optagent.training.families.registry import family_named
from optagent.training.plan import FeaturePlan
from optagent.training.predictor import Predictor
from optagent.training.problem import Data, Problem
from optagent.training.recipe import Recipe, train_recipe
from optagent.training.stack import Stack, StackColumn
from optagent.training.steps import (
    Calendar,
    CategoryShare,
    Difference,
    GroupDifference,
    GroupMean,
    MissingCount,
    PairShare,
    Power,
    Product,
    Ratio,
)
from optagent.training.target_mean import TargetMean

MakePredictor = Callable[..., Predictor]
MakeRows = Callable[[Task], pa.Table]
FAMILIES = ("lightgbm", "xgboost", "random_forest", "linear", "catboost")


def make_ensemble(make_predictor: MakePredictor, task: Task, kind: str = "weighted_mean") -> Predictor:
    parts = {name: make_predictor(name, task) for name in FAMILIES}
    weights, outputs = (0.3, 0.2, 0.2, 0.1, 0.2), 3 if task is Task.MULTICLASS else 1
    combined = {
        "weighted_mean": lambda: WeightedMean(task, FAMILIES, weights),
        "hard_vote": lambda: HardVote(task, FAMILIES, weights),
        "stack": lambda: Stack(task, FAMILIES, weights, (0.2,) * outputs),
        "stack_with_features": lambda: Stack(
            task, FAMILIES, weights, (0.2,) * outputs, (StackColumn(0, 0.0, 1.0, (0.1,) * outputs),)
        ),
    }[kind]()
    members = {name: ModelPart(name, predictor.model) for name, predictor in parts.items()}
    first = parts[FAMILIES[0]]
    return Predictor(_manifest_of_family(first, "ensemble"), first.schema, EnsembleModel(combined, members))


def make_engineered(make_predictor: MakePredictor, table: pa.Table, family: str, calendar: bool = False) -> Predictor:
    plain = make_predictor("lightgbm", Task.REGRESSION)
    names = plain.schema.names
    steps = [Product("a", "b"), Ratio("a", "count"), Difference("b", "a"), Power("a", 2), Power("b", 3)]
    steps += [GroupMean("city", "a", (0.1, 0.2, -0.3)), GroupDifference("city", "b", (1.0, 0.0, 0.5))]
    steps += [CategoryShare("city", (0.6, 0.3, 0.1)), MissingCount(("a", "b", "count"))]
    steps += [PairShare("city", "shop", ((0.5, 0.1), (0.1, 0.2), (0.1, 0.0)))]
    steps += [TargetMean(("city",), (0.4, 0.1, 0.9, 0.5), (3,))]
    steps += [TargetMean(("city", "shop"), (0.4, 0.1, 0.9, 0.2, 0.3, 0.8, 0.5), (3, 2))]
    plan = FeaturePlan(names, (*steps, *([Calendar("day", "weekday")] if calendar else [])), ("b",))
    x = encode(table, plain.schema)
    codes = [(index, column.levels) for index, column in enumerate(plain.schema.columns) if column.levels]
    data = Data(
        x,
        np.nan_to_num(x[:, 0] * x[:, 1]).astype(float),
        names,
        Task.REGRESSION,
        tuple(index for index, _ in codes),
        tuple(levels for _, levels in codes),
    )
    params = family_named(family).defaults(Task.REGRESSION)
    model = train_recipe(Problem(data, ()), Recipe("planned", family, params, 8, plan))
    assert isinstance(model, EngineeredModel)
    return Predictor(_manifest_of_family(plain, "engineered"), plain.schema, model)


def _manifest_of_family(predictor: Predictor, family: str):
    from dataclasses import replace

    return replace(predictor.manifest, family=family)


def assert_agrees(predictor: Predictor, table: pa.Table) -> None:
    compiled = compile_onnx(predictor)
    assert compiled.engine is not None, compiled.reason
    rows = encode(table, predictor.schema)
    probes, expected = score_answerable_rows(NativeEngine(predictor), probe_rows(predictor, rows, compiled.thresholds))
    assert len(probes) > 300
    assert largest_difference(expected, compiled.engine.scores(probes)) < TOLERANCE


@pytest.mark.parametrize("task", Task)
def test_a_weighted_mean_compiles_to_the_same_answers(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    assert_agrees(make_ensemble(make_predictor, task), make_served_rows(task))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", Task)
def test_a_bag_compiles_to_the_same_answers(
    task: Task, kind: str, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    first = make_predictor("lightgbm", task)
    table = make_served_rows(task)
    problem = Problem(load_data(table, first.schema), ())
    parts = bag_recipes([Recipe("trees", "lightgbm", family_named("lightgbm").defaults(task), 8)], 4, kind)
    members = {part.name: ModelPart(part.family, train_recipe(problem, part)) for part in parts}
    model = EnsembleModel(bag_mean(parts, task, None), members)
    assert_agrees(Predictor(_manifest_of_family(first, "ensemble"), first.schema, model), table)


@pytest.mark.parametrize("task", Task)
def test_a_stack_compiles_to_the_same_answers(
    task: Task, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    assert_agrees(make_ensemble(make_predictor, task, "stack"), make_served_rows(task))


@pytest.mark.parametrize("kind", ["hard_vote", "stack_with_features"])
def test_an_ensemble_without_an_onnx_form_says_so(kind: str, make_predictor: MakePredictor) -> None:
    compiled = compile_onnx(make_ensemble(make_predictor, Task.BINARY, kind))
    assert compiled.engine is None
    assert "ensemble does not compile to ONNX: an ensemble by" in compiled.reason


@pytest.mark.parametrize("family", ["lightgbm", "linear"])
def test_a_plan_compiles_to_the_same_answers(
    family: str, make_predictor: MakePredictor, make_served_rows: MakeRows
) -> None:
    table = make_served_rows(Task.REGRESSION)
    assert_agrees(make_engineered(make_predictor, table, family), table)


def test_a_step_without_an_onnx_form_is_named(make_predictor: MakePredictor, make_served_rows: MakeRows) -> None:
    compiled = compile_onnx(
        make_engineered(make_predictor, make_served_rows(Task.REGRESSION), "lightgbm", calendar=True)
    )
    assert compiled.engine is None
    assert "'weekday of day'" in compiled.reason
