"""Rows a second of batch scoring: a LightGBM classifier of 200 trees and 20 numbers, from file to file.

.venv/bin/python tests/performance/bench_score.py [--rows 2000000] [--rounds 3]

The asked rate counts reading, scoring and writing, on two cores. Other programs on the machine slow it down: the load
average is printed beside each round, and the processor time a row, which depends on them less.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from optagent.adapters.datasets.row_files import LocalRowFiles
from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import Task
from optagent.domain.slot import DEFAULT_SLOTS
from optagent.loop.context import Ports
from optagent.loop.score.answering import LoadedScorer
from optagent.loop.score.score_file import ScoreRequest, score_file
from optagent.mixing.learner import MixtureLearner
from optagent.serving.batch_scorer import BatchScorer, make_scorer, recipe_of
from optagent.serving.boosted_trees import lightgbm_forest
from optagent.serving.engine import ServedModel
from optagent.serving.onnx_engine import INPUT, OnnxEngine
from optagent.serving.onnx_graph import Graph, add_forest
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

COLUMNS, TREES, LEAVES, TRAIN = 20, 200, 31, 20_000
ASKED = 500_000
NAMES = tuple(f"c{number}" for number in range(COLUMNS))
SCHEMA = Schema(tuple(FeatureColumn(name, Kind.NUMERIC) for name in NAMES), "label", Task.BINARY, ("no", "yes"))


class FixedClock:
    def now(self) -> float:
        return 1_700_000_000.0


@dataclass(frozen=True)
class Round:
    """What one scoring took: rows a second, microseconds of processor a row, MiB of memory, the load average before."""

    rate: float
    cpu_us: float
    grown: float
    load: float


def trained_graphs(count: int) -> list[bytes]:
    import lightgbm

    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAIN, COLUMNS)).round(4)
    y = x[:, 0] - x[:, 1] ** 2 + x[:, 2] * x[:, 3] + rng.normal(size=TRAIN) > 0
    graphs = []
    for seed in range(count):
        params = {"objective": "binary", "num_leaves": LEAVES, "seed": seed, "num_threads": 1, "verbose": -1}
        params |= {"bagging_fraction": 0.8, "bagging_freq": 1}
        booster = lightgbm.train(params, lightgbm.Dataset(x, y), TREES)
        graph = Graph(COLUMNS)
        graphs.append(graph.model(add_forest(graph, lightgbm_forest(booster, Task.BINARY, 1), INPUT), 1))
    return graphs


def models_of(graphs: Mapping[str, bytes]) -> dict[str, ServedModel]:
    return {name: ServedModel(SCHEMA, OnnxEngine(graph, COLUMNS, 1), name) for name, graph in graphs.items()}


def loaded_scorer(graphs: Mapping[str, bytes], weights: MixtureWeights | None) -> LoadedScorer:
    models = models_of(graphs)
    return LoadedScorer(make_scorer("1", models, weights), recipe_of("1", models, weights), (), ())


def write_rows(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows, with an id, as Parquet, Arrow and (a tenth of them) CSV."""
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {"id": np.arange(rows)}
    columns |= {name: rng.normal(size=rows).round(4) for name in NAMES}
    table = pa.table(columns)
    files = {kind: folder / f"rows.{kind}" for kind in ("parquet", "arrow", "csv")}
    pq.write_table(table, files["parquet"])
    with pa.ipc.new_file(str(files["arrow"]), table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    pacsv.write_csv(table.slice(0, rows // 10), files["csv"])
    return files


def measure(data: Path, out: Path, loaded: LoadedScorer, threads: int) -> Round:
    absent: Any = None
    ports = Ports(absent, absent, absent, absent, absent, FixedClock(), threads=threads, row_files=LocalRowFiles())
    load, memory = os.getloadavg()[0], psutil.Process().memory_info().rss
    started_at, cpu = time.perf_counter(), time.process_time()
    account = score_file(ScoreRequest("bench", str(data), out, overwrite=True), lambda: loaded, ports)
    took, cpu_s = time.perf_counter() - started_at, time.process_time() - cpu
    grown = (psutil.Process().memory_info().rss - memory) / 2**20
    return Round(account.rows / took, cpu_s / account.rows * 1e6, grown, load)


def check_bits(data: Path, out: Path, engines: BatchScorer) -> bool:
    """True where the output has the bits that the engines of gateways give requests of 10,000 rows."""
    rows, shares = pq.read_table(data, columns=list(NAMES)), pq.read_table(out)["probability_yes"]
    for start in range(0, rows.num_rows, 10_000):
        part = engines.score(rows.slice(start, 10_000)).scores
        if not np.array_equal(shares.slice(start, 10_000).to_numpy(), part):
            return False
    return True


def figures(work: Path, files: Mapping[str, Path], rounds: int) -> Iterator[tuple[str, list[Round]]]:
    graphs = {str(number): graph for number, graph in enumerate(trained_graphs(len(DEFAULT_SLOTS)), 1)}
    weights = MixtureLearner(Task.BINARY, DEFAULT_SLOTS).weights(tuple(graphs))
    alone, mixed = loaded_scorer({"1": graphs["1"]}, None), loaded_scorer(graphs, weights)
    engines, mixed_engines = BatchScorer("1", models_of(graphs)), BatchScorer("1", models_of(graphs), weights)
    out = work / "scored.parquet"
    cases = [
        ("Parquet, two threads", files["parquet"], alone, 2),
        ("Parquet, one thread", files["parquet"], alone, 1),
        ("Arrow, two threads", files["arrow"], alone, 2),
        ("CSV, two threads", files["csv"], alone, 2),
        ("Parquet, a mixture of four slots", files["parquet"], mixed, 2),
    ]
    for name, data, loaded, threads in cases:
        yield name, [measure(data, out, loaded, threads) for _ in range(rounds)]
        if data == files["parquet"] and not check_bits(data, out, mixed_engines if loaded is mixed else engines):
            raise SystemExit(f"{name}: the answers differ from those to requests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="optagent-bench-") as folder:
        files = write_rows(Path(folder), options.rows)
        print(f"{options.rows:,} rows of {COLUMNS} columns, {TREES} trees of {LEAVES} leaves, best of {options.rounds}")
        print(
            "| file | rows/s | asked | us of processor a row | MiB that memory grew by | load average of the rounds |"
        )
        print("|---|---:|---:|---:|---:|---|")
        for name, rounds in figures(Path(folder), files, options.rounds):
            best = max(rounds, key=lambda each: each.rate)
            asked = f">= {ASKED:,}" if name == "Parquet, two threads" else ""
            loads = ", ".join(f"{each.load:.1f}" for each in rounds)
            cpu_us = min(each.cpu_us for each in rounds)
            print(
                f"| {name} | {best.rate:,.0f} | {asked} | {cpu_us:.2f} | {rounds[0].grown:,.0f} | {loads} |", flush=True
            )


if __name__ == "__main__":
    main()
