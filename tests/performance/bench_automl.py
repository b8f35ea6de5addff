"""Whole searches beside AutoML libraries on tables that nothing was tuned on: the same rows, cores and seconds.

    .venv/bin/python -m tests.performance.bench_automl --flaml .venv-flaml/bin/python \\
        --autogluon .venv-autogluon/bin/python --seconds 60 --seeds 0 1 2

A fifth of each table is set apart, and no entrant sees it. The others are given to each as a file of raw columns. Ours
is one search with an ensemble at its end, from an empty home: the time counts everything, the start of Ray included,
and the peers may take as long. FLAML stacks; AutoGluon has its preset `best_quality`, on CPU and without torch, so
without its neural networks. Losses are log loss or the root of the mean square error. A row is answered alone, by name.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from optagent import create_optimization_agent
from optagent.arrays import Prediction
from optagent.bootstrap import model_parts
from optagent.domain.model import Task
from optagent.loop.train.load import load_version
from optagent.serving.engine import ServedModel
from optagent.serving.parity import choose_engine
from optagent.settings import load_settings
from optagent.training.encoding import encode, encode_target, target_schema
from optagent.training.families.registry import FAMILIES
from optagent.training.folds import split
from optagent.training.metrics import METRICS
from optagent.training.row_times import instants
from tests.performance.automl.held_out_tables import HELD_OUT_TABLES, MOST_ROWS
from tests.performance.automl.tables import SHARED, Table, read_table

SEARCHED = [name for name in ("lightgbm", "xgboost", "catboost", "extra_trees", "linear") if name in FAMILIES]
PEERS = Path(__file__).parent / "peers"
TRIALS, MEMBERS, MODELS_OF_BAG, ONE_ROWS = 100_000, 10, 10, 200
LEVEL = 0.002  # of a loss: less apart is level


@dataclass(frozen=True)
class Entry:
    """The result of one entrant: its loss on the rows set apart, its seconds, and milliseconds for one row alone."""

    loss: float
    seconds: float
    row_ms: float
    form: str


@dataclass(frozen=True)
class Contest:
    """A table, split; `codes` are the classes or values of the test rows."""

    table: Table
    train: pa.Table
    test: pa.Table
    codes: np.ndarray
    folder: Path

    def loss(self, prediction: Prediction) -> float:
        """The loss of predictions for the test rows, classes in sorted order."""
        return METRICS[self.table.spec().metric].score(self.codes, prediction)


def prepare_contest(table: Table, folder: Path, shared: Path, seed: int) -> Contest:
    """Splits a table and writes both parts: the newest fifth is set apart where rows have an order."""
    rows, spec = read_table(table, MOST_ROWS, shared), table.spec()
    codes, _ = encode_target(rows, target_schema(rows, spec))
    parts = split(instants(rows, spec), codes, spec, seed=seed)
    train, test = (rows.take(pa.array(np.sort(part))) for part in (parts.dev, parts.holdout))
    pq.write_table(train, folder / "train.parquet")
    pq.write_table(test, folder / "test.parquet")
    return Contest(table, train, test, codes[np.sort(parts.holdout)], folder)


async def run_ours(contest: Contest, seconds: float, seed: int) -> Entry:
    """One search with an ensemble at its end, in a new home."""
    table, began = contest.table, time.perf_counter()
    settings = load_settings(home=contest.folder / "home")
    fields = {
        "id": table.name,
        "task": str(table.task),
        "data": str(contest.folder / "train.parquet"),
        "target": table.target,
        "rows_in_time_order": table.in_time_order,
        "metric": table.spec().metric,
        "families": SEARCHED,
    }
    async with await create_optimization_agent(settings, strict=True) as agent:
        spec = await agent.register_model(fields)
        result = await agent.tune_hyperparameters(
            spec.model_id,
            method="portfolio",
            trials=TRIALS,
            timeout_s=seconds,
            ensemble=MEMBERS,
            bag=MODELS_OF_BAG,
            seed=seed,
        )
        took = time.perf_counter() - began
    registry = model_parts.registry(settings)
    version = registry.version(table.name, str(result.version))
    predictor = load_version(version, registry)
    x = encode(contest.test, predictor.schema)
    served = ServedModel(predictor.schema, choose_engine(predictor, x).engine, "1")
    rows = contest.test.select(list(predictor.schema.names)).slice(0, ONE_ROWS).to_pylist()
    row_ms = typical_ms([lambda row=row: served.answer(row) for row in rows])
    form = f"{version.tags['form']}, {result.trials} trials"
    return Entry(contest.loss(predictor.scores(x)), took, row_ms, form)


def typical_ms(calls: list[Any]) -> float:
    """The median of the calls, after one that does not count."""
    calls[0]()
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return float(np.median(took) * 1e3)


def run_peer(name: str, python: str, contest: Contest, seconds: float, seed: int) -> Entry:
    """A peer in a process and an environment of its own, which writes what it predicts."""
    said = contest.folder / f"{name}.npy"
    files = [str(contest.folder / part) for part in ("train.parquet", "test.parquet")]
    question = [contest.table.target, str(contest.table.task), f"{seconds:.0f}", str(seed), str(said)]
    command = [python, str(PEERS / f"{name}_run.py"), *files, *question]
    run = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 5 + 600, cwd=contest.folder)
    if run.returncode:
        raise RuntimeError(run.stderr[-1500:])
    facts = json.loads(run.stdout.splitlines()[-1])
    prediction = np.load(said).astype(np.float64)
    if contest.table.task is Task.BINARY:
        prediction = prediction[:, 1]
    return Entry(contest.loss(prediction), facts["seconds"], facts["row_ms"], facts["best"])


def run_contest(contest: Contest, seconds: float, seed: int, peers: dict[str, str]) -> dict[str, Entry]:
    """Ours first; the peers may take as long as it took. An entrant that fails is named and left out."""
    entries = {"ours": asyncio.run(run_ours(contest, seconds, seed))}
    for name, python in peers.items():
        try:
            entries[name] = run_peer(name, python, contest, entries["ours"].seconds, seed)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"<!-- {contest.table.name}: {name} failed: {error} -->", flush=True)
    return entries


def line_of(contest: Contest, seed: int, entries: dict[str, Entry], peers: dict[str, str]) -> str:
    """A line of the table: losses, ours over each peer's, seconds and milliseconds."""
    table, ours = contest.table, entries["ours"]
    shown = [entries.get(name) for name in peers]
    cells = [
        table.name,
        f"{table.task} {contest.train.num_rows + contest.test.num_rows:,}",
        str(seed),
        f"{ours.loss:.5g} ({ours.form})",
        *(f"{entry.loss:.5g} ({entry.form})" if entry else "failed" for entry in shown),
        *(f"{ours.loss / entry.loss:.4f}" if entry else "" for entry in shown),
        " / ".join(f"{entry.seconds:.0f}" for entry in entries.values()),
        " / ".join(f"{entry.row_ms:.2g}" for entry in entries.values()),
    ]
    return f"| {' | '.join(cells)} |"


def print_count(ratios: dict[str, list[float]]) -> None:
    """The number of runs in which ours was ahead, level and behind."""
    for name, values in ratios.items():
        ahead, behind = sum(one < 1 - LEVEL for one in values), sum(one > 1 + LEVEL for one in values)
        level = len(values) - ahead - behind
        print(f"\nBeside {name}: ahead in {ahead}, level ({LEVEL:.1%}) in {level}, behind in {behind} of {len(values)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flaml", metavar="PYTHON", help="python of an environment with FLAML")
    parser.add_argument("--autogluon", metavar="PYTHON", help="python of an environment with AutoGluon")
    parser.add_argument("--seconds", type=float, default=60, help="of each search")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[table.name for table in HELD_OUT_TABLES], help="tables by name")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the tables that no package carries")
    given = parser.parse_args()
    named = {"flaml": given.flaml, "autogluon": given.autogluon}
    peers = {name: str(Path(python).absolute()) for name, python in named.items() if python}
    ratios: dict[str, list[float]] = {name: [] for name in peers}
    heads = [*peers, *(f"ours over {name}" for name in peers)]
    print(f"| table | task, rows | seed | ours | {' | '.join([*heads, 's', 'ms a row'])} |")
    print("|---" * (6 + len(heads)) + "|")
    for seed in given.seeds:
        for table in HELD_OUT_TABLES:
            if given.only and table.name not in given.only:
                continue
            with tempfile.TemporaryDirectory(prefix="optagent-automl-") as scratch:
                contest = prepare_contest(table, Path(scratch), given.data, seed)
                entries = run_contest(contest, given.seconds, seed, peers)
            print(line_of(contest, seed, entries, peers), flush=True)
            for name in peers:
                if name in entries:
                    ratios[name].append(entries["ours"].loss / entries[name].loss)
    print_count(ratios)


if __name__ == "__main__":
    main()
