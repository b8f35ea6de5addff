"""The whole analysis through the agent: from recorded rows to the report, its diagnosis and its findings."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.codec import decode, encode
from optagent.domain.alert import AlertKind
from optagent.domain.diagnosis import Condition, Remedy
from optagent.domain.drift import DriftStatus
from optagent.domain.model_report import ModelReport
from optagent.domain.monitoring import AnalysisType
from optagent.domain.quality import RowProblem
from optagent.errors import InvalidData

NOW = 1_700_000_000.0
DAY = 86_400.0
FEATURES = ("a", "b", "size", "region", "flag", "day")
TASKS = ("binary", "multiclass", "regression")

Columns = dict[str, Any]
Change = Callable[[Columns], None]


def signal(rows: Columns) -> np.ndarray:
    return 1.5 * rows["a"] - rows["b"] + (rows["region"] == "south")


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def make_requests(count: int, seed: int, start: float, end: float, shift: float = 0.0) -> Columns:
    """What a model was asked, evenly spread over time."""
    rng = np.random.default_rng(seed)
    return {
        "id": np.array([f"{seed}-{index}" for index in range(count)]),
        "time": np.linspace(start, end, count, endpoint=False),
        "a": rng.normal(shift, 1, count),
        "b": rng.normal(size=count),
        "size": rng.lognormal(3, 1, count),
        "region": rng.choice(["north", "south", "east"], count),
        "flag": rng.random(count) < 0.3,
        "day": np.datetime64("2023-01-01") + rng.integers(0, 100, count).astype("timedelta64[D]"),
        "latency_ms": rng.exponential(5, count),
    }


def model_answers(rows: Columns, task: str) -> Columns:
    """The answers of a model that is right, served elsewhere."""
    z = signal(rows)
    if task == "binary":
        return {"probability": sigmoid(z)}
    if task == "multiclass":
        odds = np.exp(np.column_stack([z, -z, np.zeros(len(z))]))
        shares = odds / odds.sum(axis=1, keepdims=True)
        return {f"probability_{name}": shares[:, index] for index, name in enumerate("xyz")}
    return {"prediction": z}


def truth(answers: Columns, task: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 1])
    if task == "binary":
        return np.where(rng.random(len(answers["probability"])) < answers["probability"], "yes", "no")
    if task == "multiclass":
        steps = np.cumsum(np.column_stack(list(answers.values())), axis=1)
        return np.array(list("xyz"))[(rng.random(len(steps))[:, None] > steps).sum(axis=1).clip(0, 2)]
    return answers["prediction"] + rng.normal(size=len(answers["prediction"]))


class World:
    """A model served elsewhere: a reference of forty to ten days ago, and rows of the last two days."""

    def __init__(self, agent: Any, folder: Any, task: str = "binary") -> None:
        self.agent, self.task = agent, task
        rows = make_requests(60, 99, 0, 60)
        target = truth(model_answers(rows, task), task, 99)
        days = np.datetime64("2020-01-01") + np.arange(60).astype("timedelta64[D]")
        table = pa.table({**{name: rows[name] for name in FEATURES}, "on": days, "label": target})
        pq.write_table(table, folder / "rows.parquet")
        self.spec = {
            "id": "loans",
            "task": task,
            "data": str(folder / "rows.parquet"),
            "target": "label",
            "features": list(FEATURES),
            "time_column": "on",
            "label_horizon": "1h",
            "folds": 2,
        }

    async def begin(self, rows: int = 1500, change: Change | None = None, **spec: Any) -> "World":
        await self.agent.register_model({**self.spec, **spec})
        reference = make_requests(rows, 1, NOW - 40 * DAY, NOW - 10 * DAY)
        reference |= (answers := model_answers(reference, self.task))
        reference["label"] = truth(answers, self.task, 1)
        if change is not None:
            change(reference)
        await self.agent.set_reference("loans", reference)
        return self

    async def live(
        self,
        rows: int = 1200,
        seed: int = 5,
        shift: float = 0.0,
        before: Change | None = None,
        after: Change | None = None,
        label: Callable[[Columns, Columns], Any] | None = None,
        labelled: float = 1.0,
    ) -> None:
        """Records two days. `before` changes what is asked, `after` also what is answered, `label` what comes true."""
        requests = make_requests(rows, seed, NOW - 2 * DAY, NOW, shift)
        outcomes = truth(model_answers(requests, self.task), self.task, seed)
        if before is not None:
            before(requests)
        requests |= model_answers(requests, self.task)
        if after is not None:
            after(requests)
        await self.agent.record_predictions("loans", requests)
        labels = {"id": requests["id"], "label": outcomes, "time": requests["time"] + 60}
        if label is not None:
            label(requests, labels)
        kept = round(len(outcomes) * labelled)
        if kept:
            await self.agent.record_labels("loans", {name: values[:kept] for name, values in labels.items()})

    async def report(self, kind: str = "full", time_range: Any = "48h", **options: Any) -> ModelReport:
        report = await self.agent.analyze_model("loans", kind, time_range, **options)
        assert report.error is None, report.error
        return report


@pytest.fixture
def world(agent, tmp_path) -> World:
    return World(agent, tmp_path)


def kinds(report: ModelReport) -> set[AlertKind]:
    return {finding.kind for finding in report.findings}


# The worlds, and what a senior engineer would say of them.


async def test_a_stable_world_is_stable_and_nothing_is_found(world):
    await (await world.begin()).live()
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.STABLE, Remedy.NOTHING)
    assert report.diagnosis.causes == ()
    assert report.findings == ()
    assert report.quality.problems == {}
    assert (report.quality.rows, report.quality.labelled, report.reference.rows) == (1200, 1200, 1500)
    assert report.estimated.trusted


async def test_a_shift_of_a_feature_that_costs_nothing_is_watched(world):
    await (await world.begin()).live(shift=0.7)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.DATA_DRIFT, Remedy.NOTHING)
    assert [cause.column for cause in report.diagnosis.causes] == ["a"]
    assert report.drift.drifted_features == ("a",)
    assert not kinds(report) & {AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT, AlertKind.PIPELINE}


def noisy_where_large(rows: Columns, labels: Columns) -> None:
    """Where `a` is large, labels are coins, then and now: the model never knew more there."""
    coins = np.random.default_rng(3).random(len(labels["label"])) < 0.5
    labels["label"] = np.where(rows["a"] > 1, np.where(coins, "yes", "no"), labels["label"])


async def test_a_shift_into_what_the_model_never_knew_well_is_data_drift(world):
    """The estimate, which knows of features only, sees the loss coming, so it is no concept drift."""

    def half_large(rows):
        rows["a"] = rows["a"] + np.where(np.arange(len(rows["a"])) % 2, 2.0, 0.0)

    await world.begin(change=lambda rows: noisy_where_large(rows, rows))
    await world.live(before=half_large, label=noisy_where_large)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.DATA_DRIFT, Remedy.RETRAIN)
    assert report.diagnosis.causes[0].column == "a"
    assert report.diagnosis.causes[0].excess_loss > 0
    assert AlertKind.PERFORMANCE in kinds(report)


async def test_labels_that_flip_in_a_region_are_concept_drift(world):
    def flip(rows, labels):
        other = np.where(labels["label"] == "yes", "no", "yes")
        labels["label"] = np.where(rows["region"] == "south", other, labels["label"])

    await (await world.begin(monitoring={"slices": ["region"]})).live(label=flip)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.CONCEPT_DRIFT, Remedy.RETRAIN)
    assert report.drift.status is DriftStatus.STABLE
    assert report.concept_drift.is_detected
    assert not report.estimated.trusted
    assert {AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT} == kinds(report)
    assert [(one.column, one.value) for one in report.performance.slices if one.worse] == [("region", "south")]


FAULTS: dict[str, tuple[str, Change]] = {
    "null surge": ("b", lambda rows: rows.update(b=np.where(np.arange(len(rows["b"])) % 3, rows["b"], np.nan))),
    "constant feature": ("a", lambda rows: rows.update(a=np.full(len(rows["a"]), 0.3))),
    "unit change": ("size", lambda rows: rows.update(size=rows["size"] * 1000)),
    "absent column": ("size", lambda rows: rows.pop("size")),
    "another coding": ("region", lambda rows: rows.update(region=np.char.upper(rows["region"]))),
    "texts in a number": ("b", lambda rows: rows.update(b=np.repeat("n/k", len(rows["b"])))),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_pipeline_is_named_with_its_column(world, fault):
    column, change = FAULTS[fault]
    await (await world.begin()).live(after=change)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.FAULT, Remedy.FIX_PIPELINE)
    assert report.diagnosis.causes[0].column == column
    assert column in report.diagnosis.reasons[0]
    assert AlertKind.PIPELINE in kinds(report)


@pytest.mark.parametrize("labelled", [0.0, 0.03, 0.5])
async def test_labels_that_stopped_are_a_fault(world, labelled):
    await (await world.begin()).live(labelled=labelled)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.FAULT, Remedy.FIX_PIPELINE)
    assert report.diagnosis.reasons[0].startswith(("labels have stopped", "labels are missing"))
    assert kinds(report) == {AlertKind.PIPELINE}


async def test_labels_that_are_not_due_yet_are_waited_for(world):
    await (await world.begin(label_horizon="2d")).live(labelled=0.0)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.INSUFFICIENT, Remedy.WAIT)
    assert report.findings == ()


async def test_labels_that_only_some_rows_get_have_not_stopped(world):
    def sampled(rows, labels):
        kept = np.random.default_rng(0).random(len(labels["id"])) < 0.15
        labels |= {name: values[kept] for name, values in labels.items()}

    await (await world.begin()).live(label=sampled)
    assert (await world.report()).diagnosis.verdict is Condition.STABLE


async def test_probabilities_that_no_longer_fit_are_recalibrated_where_the_ranking_is_kept(world):
    def squeezed(rows):
        rows["probability"] = 0.5 + (rows["probability"] - 0.5) * 0.3

    await (await world.begin()).live(after=squeezed)
    report = await world.report()
    assert (report.diagnosis.verdict, report.diagnosis.remedy) == (Condition.CONCEPT_DRIFT, Remedy.RECALIBRATE)
    assert not any(one.degraded for one in report.performance.degradation if one.name == "auc")
    assert any("check that it is this model that serves" in reason for reason in report.diagnosis.reasons)


@pytest.mark.parametrize("task", TASKS)
async def test_answers_that_are_all_the_same_are_a_fault(agent, tmp_path, task):
    def stuck(rows):
        rows |= {name: np.repeat(rows[name][:1], len(rows[name])) for name in model_answers(rows, task)}

    await (world := await World(agent, tmp_path, task).begin(500)).live(300, after=stuck)
    diagnosis = (await world.report()).diagnosis
    assert diagnosis.verdict is Condition.FAULT
    assert diagnosis.reasons[0] == "the model gives the same answer to all 300 rows"


@pytest.mark.parametrize("task", TASKS)
async def test_labels_that_are_all_the_same_are_a_fault(agent, tmp_path, task):
    def stuck(rows, labels):
        labels["label"] = np.repeat(labels["label"][:1], len(labels["label"]))

    await (world := await World(agent, tmp_path, task).begin(500)).live(300, label=stuck)
    diagnosis = (await world.report()).diagnosis
    assert diagnosis.verdict is Condition.FAULT
    assert diagnosis.reasons[0].startswith("all 300 labels are the same")


async def test_answers_that_cannot_be_used_are_a_fault(world):
    await (await world.begin(500)).live(300, after=lambda rows: rows.update(probability=np.full(300, 7.0)))
    report = await world.report()
    assert report.quality.problems == {RowProblem.UNUSABLE_PREDICTION: 300}
    assert report.diagnosis.verdict is Condition.FAULT
    assert report.diagnosis.reasons == ("100% of the predictions cannot be used",)
    assert kinds(report) == {AlertKind.DATA_QUALITY, AlertKind.PIPELINE}


# Bad input: counted by kind, or refused with the row and the reason.


async def test_what_is_odd_is_counted_by_kind_and_by_column(world):
    await world.begin()
    rows = make_requests(400, 5, NOW - DAY, NOW) | {"probability": np.full(400, 0.5), "extra": np.arange(400)}
    rows["probability"] = sigmoid(signal(rows))
    odd = {name: list(values) for name, values in rows.items() if name != "flag"}
    odd["a"][:3] = [math.nan, math.inf, -math.inf]
    odd["b"][:4] = ["x", "1.5", "", None]
    odd["region"][:2] = ["mars", None]
    odd["day"][:2] = ["yesterday", "2023-01-05"]
    odd["probability"][10] = 1.7
    labels = [{"id": id_, "label": "yes", "time": NOW - DAY + 1e5} for id_ in odd["id"][20:200]]
    labels += [
        {"id": odd["id"][21], "label": "yes", "time": NOW - DAY + 1e5},  # again
        {"id": odd["id"][22], "label": "no", "time": NOW - DAY + 1e5},  # another of the same instant
        {"id": odd["id"][300], "label": "no", "time": NOW - DAY - 1000},  # of before
        {"id": odd["id"][301], "label": "perhaps", "time": NOW},
        {"id": "nobody", "label": "yes", "time": NOW - 5},
    ]
    await world.agent.record_predictions("loans", odd)
    await world.agent.record_predictions("loans", {name: values[:7] for name, values in odd.items()})
    await world.agent.record_labels("loans", labels)
    quality = (await world.report(time_range="24h")).quality
    by_row = {RowProblem.DUPLICATE: 7, RowProblem.UNUSABLE_PREDICTION: 1, RowProblem.ORPHAN: 1, RowProblem.SKEWED: 1}
    by_label = {RowProblem.DUPLICATE_LABEL: 1, RowProblem.CONFLICTING: 1, RowProblem.UNUSABLE_LABEL: 1}
    assert quality.columns == {
        "a": {RowProblem.MISSING: 1, RowProblem.INFINITE: 2},
        "b": {RowProblem.NOT_A_NUMBER: 1, RowProblem.MISSING: 2},
        "region": {RowProblem.MISSING: 1, RowProblem.UNSEEN: 1},
        "flag": {RowProblem.ABSENT: 400},
        "day": {RowProblem.WRONG_TYPE: 1},
        "extra": {RowProblem.EXTRA: 1},
    }
    in_columns = {RowProblem.MISSING: 4, RowProblem.INFINITE: 2, RowProblem.NOT_A_NUMBER: 1, RowProblem.UNSEEN: 1}
    in_columns |= {RowProblem.WRONG_TYPE: 1, RowProblem.ABSENT: 400, RowProblem.EXTRA: 1}
    assert quality.problems == by_row | by_label | in_columns
    assert (quality.rows, quality.labelled) == (400, 180)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([{"id": "a", "probability": 0.5}, {"id": None, "probability": 0.5}], "row 1"),
        ([{"id": "a", "probability": 0.5}, {"id": "b", "probability": "high"}], "'high' in row 1"),
        (
            [{"id": "a", "probability": 0.5, "time": 1}, {"id": "b", "probability": 0.5, "time": "soon"}],
            "'soon' in row 1",
        ),
        ([{"id": "a"}], "a column 'prediction' or 'probability' is needed"),
        ([{"probability": 0.5}], "a column 'id' is needed"),
        ([{"id": "a", "probability": 0.5, "a": [1]}], r"\[1\] in row 0"),
        ("rows", "rows"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_the_row_and_nothing_of_it_is_kept(world, rows, reason):
    await world.begin(150)
    with pytest.raises(InvalidData, match=reason):
        await world.agent.record_predictions("loans", rows)
    assert (await world.report()).quality.rows == 0


async def test_a_label_of_a_prediction_before_the_window_is_no_orphan(world):
    await world.begin(150)
    await world.live(400)
    first, second = [
        (await world.report(time_range=(NOW - 2 * DAY + day * DAY, NOW - DAY + day * DAY))) for day in (0, 1)
    ]
    assert first.quality.problems == second.quality.problems == {}


Case = Callable[[Columns, np.ndarray, str], tuple[Columns, np.ndarray | None]]


def first(count: int) -> Case:
    return lambda rows, labels, task: ({name: values[:count] for name, values in rows.items()}, labels[:count])


CASES: dict[str, Case] = {
    "no row": first(0),
    "one row": first(1),
    "three rows": first(3),
    "no label": lambda rows, labels, task: (rows, None),
    "one class": lambda rows, labels, task: (rows, np.repeat(labels[:1], len(labels))),
    "constant answers": lambda rows, labels, task: (
        rows | {name: np.repeat(rows[name][:1], len(labels)) for name in model_answers(rows, task)},
        labels,
    ),
    "no feature": lambda rows, labels, task: ({k: v for k, v in rows.items() if k not in FEATURES}, labels),
    "one instant": lambda rows, labels, task: (rows | {"time": np.full(len(labels), NOW - DAY / 2)}, labels),
    "no number": lambda rows, labels, task: (
        rows | {"a": np.full(len(labels), np.inf), "b": ["?"] * len(labels)},
        labels,
    ),
    "no usable answer": lambda rows, labels, task: (
        rows | {name: np.full(len(labels), np.inf) for name in model_answers(rows, task)},
        labels,
    ),
    "as usual": lambda rows, labels, task: (rows, labels),
}
ALL_KINDS = ("no row", "as usual")
MONITORING = {"slices": ["region", "a"], "business": {"profit": "stake * 2 - 1"}}


async def recorded(agent: Any, folder: Any, task: str, case: str) -> World:
    """A reference that is large enough for estimates in some cases only: they take their time."""
    world = await World(agent, folder, task).begin(250 if case == "no label" else 120, monitoring=MONITORING)
    rows = make_requests(150, 7, NOW - 2 * DAY, NOW)
    rows |= model_answers(rows, task)
    rows, labels = CASES[case](rows, truth(model_answers(rows, task), task, 7), task)
    if len(rows["id"]):
        await agent.record_predictions("loans", rows)
    if labels is not None and len(labels):
        made = {"id": rows["id"], "label": labels, "time": rows["time"] + 60, "stake": np.ones(len(labels))}
        await agent.record_labels("loans", made)
    return world


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("case", CASES)
async def test_every_analysis_of_every_case_answers_and_survives_json(agent, tmp_path, task, case):
    world = await recorded(agent, tmp_path, task, case)
    for kind in AnalysisType if case in ALL_KINDS else (AnalysisType.FULL,):
        report = await world.report(kind, separability=kind is AnalysisType.DRIFT)
        data = encode(report)
        assert b"NaN" not in data
        assert b"Infinity" not in data
        assert decode(ModelReport, data) == report
        assert (report.drift is not None) == (kind in ("drift", "full"))
        assert (report.performance is not None) == (kind in ("performance", "full"))
        assert (report.diagnosis is None) == (kind in ("importance", "confidence"))
        assert report.attribution is None
        if kind in ("importance", "full"):
            assert "no importance: the model itself is not known here" in report.notes


async def test_an_analysis_of_drift_alone_does_not_speak_of_quality(world):
    await (await world.begin(500)).live(500)
    report = await world.report("drift")
    assert report.diagnosis.verdict is Condition.STABLE
    assert report.diagnosis.reasons == ("no feature that matters has drifted", "the quality was not looked at")
    assert report.metrics == {}


async def test_an_empty_window_says_where_the_newest_row_is(world):
    await world.begin(150)
    assert "none is recorded" in (await world.report()).notes[0]
    await world.live(100)
    report = await world.report(time_range=(NOW - 9 * DAY, NOW - 8 * DAY))
    assert "the newest is of 2023-11-14" in report.notes[0]
    assert report.diagnosis.verdict is Condition.INSUFFICIENT


# References.


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda rows: rows.update({name: values[:1] for name, values in rows.items()}),
            "no column is left to learn from",
        ),
        (lambda rows: rows.update(label=np.repeat("yes", len(rows["label"]))), "every row is of the class 'yes'"),
        (lambda rows: rows.update(label=[None] * len(rows["label"])), "no row has a value"),
        (lambda rows: rows.pop("a"), "no column 'a'"),
        (lambda rows: rows.update({name: np.repeat(rows[name][:1], 300) for name in FEATURES}), "no column is left"),
        (lambda rows: rows.update(label=np.where(np.arange(300) % 2, rows["label"], "maybe")), "3 classes"),
        (lambda rows: rows.update(probability=np.full(300, 7.0)), "a reference needs labels"),
    ],
)
async def test_a_reference_that_nothing_can_be_compared_with_is_refused(world, change, reason):
    with pytest.raises(InvalidData, match=reason):
        await world.begin(300, change=change)


async def test_a_reference_without_times_is_one_of_now(world):
    await (await world.begin(300, change=lambda rows: rows.pop("time"))).live(300)
    assert (await world.report()).diagnosis.verdict is Condition.STABLE


async def test_a_few_texts_and_infinities_do_not_poison_a_reference(world):
    """The column stays one of numbers, instead of one of three hundred categories that no live row has."""

    def dirty(rows):
        rows["a"] = ["oops" if index % 50 == 0 else value for index, value in enumerate(rows["a"].tolist())]
        rows["b"] = np.where(np.arange(600) % 100 == 1, np.inf, rows["b"])

    await (await world.begin(600, change=dirty)).live(400)
    report = await world.report()
    assert [(one.name, one.kind) for one in report.drift.features][:2] == [("a", "numeric"), ("b", "numeric")]
    assert report.diagnosis.verdict is Condition.STABLE
    assert "reference: a: 12 texts among 588 numbers count as missing" in report.notes
    assert "reference: b is infinite in 6 rows, which count as missing" in report.notes


async def test_rows_of_a_reference_that_come_twice_count_once(world):
    def twice(rows):
        rows |= {name: np.concatenate([values, values[::-1]]) for name, values in rows.items()}

    once = await (await world.begin(150)).report()
    again = await (await world.begin(150, change=twice)).report()
    assert again.reference == once.reference


async def test_a_slice_by_a_column_that_the_version_does_not_have_is_left_out_with_a_note(world):
    await (await world.begin(150, monitoring={"slices": ["region", "rgion"]})).live(200)
    report = await world.report()
    assert "slices: 'rgion' is no feature of version logged" in report.notes
    assert {one.column for one in report.performance.slices} == {"region"}


async def test_a_reference_with_too_few_labels_is_insufficient_evidence(agent, tmp_path):
    def few(rows):
        rows["label"] = [value if index < 5 else None for index, value in enumerate(rows["label"].tolist())]

    await (world := await World(agent, tmp_path, "regression").begin(300, change=few)).live(200)
    diagnosis = (await world.report()).diagnosis
    assert (diagnosis.verdict, diagnosis.remedy) == (Condition.INSUFFICIENT, Remedy.WAIT)
    assert "the reference: 5 labelled rows" in diagnosis.reasons[0]


@pytest.mark.parametrize("ordered", [{"time_column": None, "rows_in_time_order": True, "label_horizon": 1}, {}])
async def test_a_version_is_compared_with_its_holdout_and_knows_its_importance(agent, churn, make_rows, ordered):
    ignore = ["value", "day"] if ordered else ["value"]
    await agent.register_model(churn | ordered | {"ignore": ignore, "folds": 2, "families": ["linear"]})
    tuned = await agent.tune_hyperparameters("churn", trials=1)
    assert tuned.error is None
    rows = make_rows(200, seed=1).to_pydict()
    predicted = np.clip(sigmoid(2 * np.nan_to_num(np.array(rows["a"], dtype=float))), 0.01, 0.99)
    rows |= {"id": [f"{index}" for index in range(200)], "time": np.linspace(NOW - 2 * DAY, NOW - DAY, 200)}
    rows["version"] = ["1"] * 200
    await agent.record_predictions(
        "churn", {k: v for k, v in rows.items() if k != "label"} | {"probability": predicted}
    )
    await agent.record_labels("churn", {"id": rows["id"], "label": rows["label"]})
    report = await agent.analyze_model("churn", time_range="48h", version="1")
    assert report.error is None
    assert (report.version, report.quality.rows) == ("1", 200)
    assert (report.reference.window is None) == bool(ordered)
    shares = {one.name: one.current_share for one in report.attribution.features}
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) in ("a", "b")
    assert decode(ModelReport, encode(report)) == report


# What was found once is kept.


class CountingStore(InMemoryStore):
    """A store that knows how often an analysis was saved."""

    saved = 0

    async def save_report(self, key: str, digest: str, report: ModelReport) -> None:
        self.saved += 1
        await super().save_report(key, digest, report)


async def an_agent(store: InMemoryStore | None = None, clock: ManualClock | None = None) -> Any:
    clock = clock or ManualClock(NOW)
    return await create_optimization_agent(
        clock=clock,
        store=store or InMemoryStore(clock),
        registry=InMemoryRegistry(clock),
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
    )


CLOSED = (NOW - 2 * DAY, NOW - DAY)


@pytest.fixture
async def kept(tmp_path) -> tuple[World, CountingStore, ManualClock]:
    clock = ManualClock(NOW)
    store = CountingStore(clock)
    world = await World(await an_agent(store, clock), tmp_path).begin(150)
    await world.live(300)
    return world, store, clock


async def test_a_closed_window_is_analyzed_once(kept):
    world, store, clock = kept
    one = await world.report(time_range=CLOSED)
    clock.advance(10)
    assert await world.report(time_range=CLOSED) == one
    assert store.saved == 1


@pytest.mark.parametrize(
    "late",
    [
        lambda agent: agent.record_labels("loans", [{"id": "5-3", "label": "no", "time": NOW - 1}]),
        lambda agent: agent.record_predictions("loans", [{"id": "late", "time": NOW - 1.5 * DAY, "probability": 0.3}]),
    ],
)
async def test_a_late_row_of_a_closed_window_changes_its_analysis(kept, late):
    world, store, _ = kept
    one = await world.report(time_range=CLOSED)
    await late(world.agent)
    assert await world.report(time_range=CLOSED) != one
    assert store.saved == 2


async def test_rows_of_other_windows_leave_a_kept_analysis_alone(kept):
    world, store, clock = kept
    one = await world.report(time_range=CLOSED)
    clock.advance(DAY)
    await world.agent.record_predictions("loans", [{"id": "new", "time": NOW, "probability": 0.3}])
    await world.agent.record_labels("loans", [{"id": "new", "label": "no", "time": NOW}])
    assert await world.report(time_range=CLOSED) == one
    assert store.saved == 1


async def test_labels_that_become_due_change_a_kept_analysis(tmp_path):
    """They have not come: what was to be waited for is now a fault."""
    clock = ManualClock(NOW)
    world = await World(await an_agent(clock=clock), tmp_path).begin(150, label_horizon="1d")
    await world.live(300, labelled=0.0)
    window = (NOW - DAY, NOW - 1)
    assert (await world.report(time_range=window)).diagnosis.verdict is Condition.INSUFFICIENT
    clock.advance(DAY)
    assert (await world.report(time_range=window)).diagnosis.verdict is Condition.FAULT


async def test_another_reference_or_another_metric_makes_the_analysis_anew(kept):
    world, store, _ = kept
    await world.report(time_range=CLOSED)
    await world.begin(150, change=lambda rows: rows.update(label=rows["label"][::-1]))
    await world.report(time_range=CLOSED)
    await world.begin(150, metric="log_loss")
    await world.report(time_range=CLOSED)
    assert store.saved == 3


async def test_an_open_window_is_never_kept(kept):
    world, store, _ = kept
    for _ in range(2):
        await world.report(time_range=(NOW - DAY, NOW + 1))
    assert store.saved == 0


async def test_a_metric_over_time_can_be_by_rows_instead_of_hours(world):
    monitoring = {"performance_window_rows": 250, "business": {"hits": "prediction == label"}}
    await (await world.begin(monitoring=monitoring)).live(rows=1000)
    report = await world.report("performance")
    assert [point.rows for point in report.performance.over_time] == [250, 250, 250, 250]
    assert [point.rows for point in report.business.over_time] == [250, 250, 250, 250]
    assert report.performance.over_time[0].window.end == report.performance.over_time[1].window.start


async def test_business_metrics_are_compared_with_the_window_before(world):
    def stakes(rows, labels):
        labels["stake"] = np.where(rows["time"] < NOW - DAY, 10.0, 1.0)

    profit = {"profit": "stake * (prediction == label)"}
    await (await world.begin(150, monitoring={"business": profit})).live(600, label=stakes)
    report = await world.report(time_range="24h")
    (fall,) = report.business.degradation
    assert fall.degraded
    assert fall.drop.estimate == pytest.approx(0.9, abs=0.03)
    assert kinds(report) == {AlertKind.PERFORMANCE}
