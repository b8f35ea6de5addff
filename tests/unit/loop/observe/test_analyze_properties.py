"""However rows and labels came in, the same ones give the same report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.domain.model_report import ModelReport
from optagent.domain.quality import RowProblem
from optagent.ports import RecordKind

NOW = 1_700_000_000.0
DAY = 86_400.0
ROWS = 120
Rows = list[dict[str, Any]]


def rows_of(count: int, seed: int, start: float, end: float) -> Rows:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count))
    region = rng.choice(["n", "s"], count)
    chance = 1 / (1 + np.exp(-a + b))
    times = np.sort(rng.integers(0, count // 2, count)) / (count // 2) * (end - start) + start  # many at one instant
    return [
        {
            "id": f"{seed}-{index}",
            "time": float(times[index]),
            "a": float(a[index]),
            "b": None if index % 9 == 0 else float(b[index]),
            "region": str(region[index]) if index % 17 else "unseen",
            "probability": float(chance[index]),
            "latency_ms": float(index % 7),
            "label": "yes" if rng.random() < chance[index] else "no",
        }
        for index in range(count)
    ]


LIVE = rows_of(ROWS, 5, NOW - 2 * DAY, NOW)
PREDICTIONS: Rows = [{name: value for name, value in row.items() if name != "label"} for row in LIVE]
LABELS: Rows = [
    {"id": row["id"], "label": row["label"], "time": row["time"] + 60, "stake": float(index % 3)}
    for index, row in enumerate(LIVE)
    if index % 5
]
LABELS += [
    {"id": LIVE[1]["id"], "label": "no", "time": NOW, "stake": 1.0},  # another, later
    {"id": LIVE[2]["id"], "label": "yes", "time": NOW, "stake": 1.0},  # two of one instant
    {"id": LIVE[2]["id"], "label": "no", "time": NOW, "stake": 1.0},
    {"id": LIVE[3]["id"], "label": "yes", "time": LIVE[3]["time"] - 500, "stake": 1.0},  # before its prediction
    {"id": "nobody", "label": "yes", "time": NOW - 9, "stake": 1.0},
]
# Two answers to one request, of one instant: which counts must not hang on which came first.
PREDICTIONS += [{**PREDICTIONS[7], "probability": 0.9}, {**PREDICTIONS[8], "time": NOW - 1}]
COPIES = (RowProblem.DUPLICATE, RowProblem.DUPLICATE_LABEL)


async def analyze_batches(folder: Path, batches: list[tuple[RecordKind, Rows]]) -> ModelReport:
    clock = ManualClock(NOW)
    agent = await create_optimization_agent(
        strict=True,
        clock=clock,
        store=InMemoryStore(clock),
        registry=InMemoryRegistry(clock),
        tracker=InMemoryTracker(),
        observations=InMemoryObservations(),
        tuner=SequentialTuner(),
    )
    async with agent:
        await agent.register_model(
            {
                "id": "m",
                "task": "binary",
                "data": str(folder / "rows.parquet"),
                "target": "label",
                "features": ["a", "b", "region"],
                "time_column": "on",
                "label_horizon": "1h",
                "monitoring": {"slices": ["region"], "business": {"profit": "stake * (prediction == label)"}},
            }
        )
        reference = rows_of(150, 1, NOW - 40 * DAY, NOW - 10 * DAY)
        await agent.set_reference("m", [row | {"region": row["region"].replace("unseen", "n")} for row in reference])
        for turn, (kind, rows) in enumerate(batches):
            await (agent.record_predictions if kind is RecordKind.PREDICTIONS else agent.record_labels)("m", rows)
            if turn == 1:
                await agent.analyze_model("m", time_range=(NOW - 2 * DAY, NOW))  # a look in between changes nothing
        return await agent.analyze_model("m", time_range=(NOW - 2 * DAY, NOW))


def without_copies(report: ModelReport) -> ModelReport:
    """The report but for how often rows came."""
    assert report.quality is not None
    problems = {problem: count for problem, count in report.quality.problems.items() if problem not in COPIES}
    return replace(report, created_at=None, quality=replace(report.quality, problems=problems))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows")
    rows = pa.Table.from_pylist([{**row, "region": "ns"[place % 2]} for place, row in enumerate(rows_of(60, 2, 0, 60))])
    days = np.datetime64("2020-01-01") + np.arange(60).astype("timedelta64[D]")
    pq.write_table(
        rows.drop_columns(["id", "time", "probability", "latency_ms"]).append_column("on", [days]),
        path / "rows.parquet",
    )
    return path


class Expected:
    report: ModelReport | None = None


@settings(max_examples=10, deadline=None)
@given(data=st.data())
async def test_any_order_batches_copies_and_delays_give_the_same_report(folder: Path, data: st.DataObject) -> None:
    """Labels also come before their predictions, and both between two analyses."""
    if Expected.report is None:
        plain = [(RecordKind.PREDICTIONS, PREDICTIONS), (RecordKind.LABELS, LABELS)]
        Expected.report = without_copies(await analyze_batches(folder, plain))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    batches: list[tuple[RecordKind, Rows]] = []
    for kind, rows in ((RecordKind.PREDICTIONS, PREDICTIONS), (RecordKind.LABELS, LABELS)):
        copies = rng.integers(0, len(rows), data.draw(st.integers(0, 40)))
        order = rng.permutation(np.concatenate([np.arange(len(rows)), copies]))
        parts = np.array_split(order, data.draw(st.integers(1, 6)))
        batches += [(kind, [rows[index] for index in part]) for part in parts]
    batches = [batches[index] for index in rng.permutation(len(batches))]
    assert without_copies(await analyze_batches(folder, batches)) == Expected.report


async def test_the_copies_are_counted(folder: Path) -> None:
    """So that what the property leaves out is there."""
    twice = [(RecordKind.PREDICTIONS, PREDICTIONS), (RecordKind.LABELS, LABELS)] * 2
    report = await analyze_batches(folder, twice)
    assert report.quality is not None
    assert report.quality.problems[RowProblem.DUPLICATE] == len(PREDICTIONS) * 2 - ROWS
    assert report.quality.problems[RowProblem.DUPLICATE_LABEL] == len(LABELS) - 1  # that of nobody is an orphan
    assert (report.quality.rows, report.quality.problems[RowProblem.ORPHAN]) == (ROWS, 1)
