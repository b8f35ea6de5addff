"""A search that ends with an ensemble, beside an AutoML library, with the same rows, cores and time.

    .venv/bin/python tests/performance/bench_automl.py --flaml .venv-flaml/bin/python

For each table: the best single model of a search, what the ensemble of its ten best trials says on the holdout, and
FLAML (its own stacking on, of the models alone) given the same encoded development rows. The time counts everything,
start of Ray included.
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

import pandas as pd
import pyarrow.parquet as pq

from optagent import create_optimization_agent
from optagent.bootstrap import model_parts, parts
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.settings import load_settings
from optagent.training.metrics import METRICS
from tests.performance.bench_features import specs, table_of

DATA = Path(__file__).parents[3] / "shared" / "data"
FAMILIES = ["lightgbm", "xgboost", "extra_trees", "linear"]
PEER = Path(__file__).parent / "peers" / "flaml_run.py"
MEMBERS = 10


@dataclass(frozen=True)
class Found:
    """Losses on the holdout."""

    single: float
    whole: float
    auc: float
    seconds: float
    form: str
    notes: tuple[str, ...]


async def searched(fields: dict[str, Any], budget: float, home: Path) -> tuple[Found, PreparedRows]:
    settings = load_settings(home=home)
    async with await create_optimization_agent(settings, strict=True) as agent:
        spec = await agent.register_model(fields)
        began = time.perf_counter()
        result = await agent.tune_hyperparameters(
            spec.model_id, method="portfolio", trials=100_000, timeout_s=budget, ensemble=MEMBERS
        )
        seconds = time.perf_counter() - began
        registry = model_parts.registry(settings)
        predictor = load_version(registry.version(spec.model_id, str(result.version)), registry)
        prepared = prepare(spec, parts.datasets(settings))
        y, x = prepared.holdout.y, prepared.holdout.x
        whole = METRICS["log_loss"].score(y, predictor.scores(x))
        auc = METRICS["auc"].score(y, predictor.scores(x))
        form = registry.version(spec.model_id, str(result.version)).tags["form"]
        single = whole
        if form == "ensemble":
            single = METRICS["log_loss"].score(y, best_single(predictor.model, prepared))
    return Found(single, whole, auc, seconds, form, result.notes), prepared


def best_single(ensemble: Any, prepared: PreparedRows) -> Any:
    """What the best member says of the holdout: chosen with hindsight, which favours it."""
    said = [part.model.predict(prepared.holdout.x) for part in ensemble.members.values()]
    return min(said, key=lambda one: METRICS["log_loss"].score(prepared.holdout.y, one))


def peer(python: str, prepared: PreparedRows, seconds: float, folder: Path) -> dict[str, Any]:
    data = prepared.problem.data
    for name, part in (("dev", data), ("holdout", prepared.holdout)):
        frame = pd.DataFrame(part.x, columns=list(data.names))
        frame["target"] = part.y
        frame.to_parquet(folder / f"{name}.parquet")
    categorical = ",".join(data.names[index] for index in data.categorical)
    files = [str(folder / "dev.parquet"), str(folder / "holdout.parquet")]
    command = [python, str(PEER), *files, str(seconds), categorical]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 4 + 300)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flaml", metavar="PYTHON", help="python of an environment with FLAML")
    parser.add_argument("--seconds", type=float, default=120, help="of each search")
    parser.add_argument("--only", action="append", help="a table by name; repeat")
    given = parser.parse_args()
    heads = "| table | rows | best member alone | ensemble | better by | s | FLAML | s | ours over FLAML |"
    print(f"{heads} AUC ours, FLAML |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for real in specs():
        if given.only and real.name not in given.only:
            continue
        with tempfile.TemporaryDirectory(prefix="optagent-automl-") as scratch:
            folder = Path(scratch)
            table = table_of(real, DATA)
            pq.write_table(table, folder / "rows.parquet")
            spec = real.spec
            fields = {
                "id": real.name,
                "task": "binary",
                "data": str(folder / "rows.parquet"),
                "target": spec.target,
                "ignore": list(spec.ignore),
                "rows_in_time_order": spec.rows_in_time_order,
                "metric": "log_loss",
                "families": FAMILIES,
            }
            found, prepared = asyncio.run(searched(fields, given.seconds, folder / "home"))
            gain = 100 * (found.single - found.whole) / found.single
            line = f"| {real.name} | {table.num_rows:,} | {found.single:.5f} | {found.whole:.5f} ({found.form}) "
            line += f"| {gain:.2f} % | {found.seconds:.0f} "
            if given.flaml:
                other = peer(given.flaml, prepared, found.seconds, folder)
                line += f"| {other['log_loss']:.5f} ({other['best']}) | {other['seconds']:.0f} "
                line += f"| {found.whole / other['log_loss']:.4f} | {found.auc:.4f}, {other['auc']:.4f} |"
            print(line, flush=True)
            for note in found.notes:
                print(f"<!-- {note} -->", flush=True)


if __name__ == "__main__":
    main()
