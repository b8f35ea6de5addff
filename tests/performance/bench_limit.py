"""A time limit, measured from outside: the wall clock of `optagent tune MODEL --timeout 60` in a new process and home.

    .venv/bin/python tests/performance/bench_limit.py --adult adult.csv.gz --seconds 60 --members 10

For each table: the seconds of the whole command, those from its start to the first result of a trial, the CPU of all
its processes until then, its trials, and the seconds of each stage. `--members 0` tries no ensemble. `--command
optimize` runs the whole loop.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

_FIRST = "OPTAGENT_BENCH_FIRST"
_CHILD = """
import os, time
import optagent.cli
def cpu_seconds():
    import psutil
    me = psutil.Process()
    times = [process.cpu_times() for process in [me, *me.children(recursive=True)]]
    return sum(each.user + each.system for each in times)
def note(self, result, store, before=[]):
    if not before:
        before.append(True)
        with open(os.environ["OPTAGENT_BENCH_FIRST"], "w") as file:
            file.write(f"{time.time()} {cpu_seconds()}")
    return original(self, result, store)
import importlib.util, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "optagent.adapters.search.live_trial":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            global original
            load(module)
            original = module.LiveTrial.record
            module.LiveTrial.record = note
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Finder())
optagent.cli.main()
"""


def small_table(rows: int, seed: int = 0) -> pa.Table:
    """Numbers and categories with a noisy rule between them."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 10))
    kind = draw.choice(["a", "b", "c"], rows)
    score = x[:, 0] - x[:, 1] * x[:, 2] + (kind == "b") + draw.normal(size=rows)
    columns = {f"x{index}": x[:, index] for index in range(x.shape[1])}
    return pa.table({**columns, "kind": kind, "label": np.where(score > 0, "yes", "no")})


def model_file(folder: Path, table: pa.Table, target: str, ignored: list[str], families: list[str]) -> Path:
    """The rows and the YAML file of a model, which is JSON as well."""
    pq.write_table(table, folder / "rows.parquet")
    fields = {
        "id": "timed",
        "task": "binary",
        "data": str(folder / "rows.parquet"),
        "target": target,
        "ignore": ignored,
        "metric": "log_loss",
        "families": families,
    }
    (folder / "model.yaml").write_text(json.dumps(fields))
    return folder / "model.yaml"


def run_command(folder: Path, arguments: list[str], address: str | None) -> dict[str, Any]:
    """The wall clock of a command from the start of its process to its end, with what it answered."""
    environment = {**os.environ, "OPT_AGENT_HOME": str(folder / "home"), _FIRST: str(folder / "first")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if address:
        environment["OPT_AGENT_RAY_ADDRESS"] = address
    (folder / "first").unlink(missing_ok=True)
    began_at = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.time() - began_at
    if done.returncode:
        return {"seconds": seconds, "error": done.stderr.strip()[-500:]}
    answer = json.loads(done.stdout.splitlines()[-1])
    at, cpu = (
        map(float, (folder / "first").read_text().split()) if (folder / "first").exists() else (math.nan, math.nan)
    )
    return {"seconds": seconds, "first": at - began_at, "cpu": cpu, "answer": answer, "began_at": began_at}


def stage_seconds(folder: Path, answer: dict[str, Any], began_at: float, seconds: float) -> dict[str, float]:
    """The seconds before the first stage, of each stage, and after the process has ended."""
    environment = {**os.environ, "OPT_AGENT_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "optagent.cli", "status", answer["process_id"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    events = [
        (event["at"], event["detail"].get("stage") or event["kind"]) for event in json.loads(done.stdout)["history"]
    ]
    moments = [(began_at, "opening"), *events, (began_at + seconds, "")]
    return {name: end - at for (at, name), (end, _) in itertools.pairwise(moments) if name != "started"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adult", metavar="CSV", help="the table of adult, 48,842 rows")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--members", type=int, default=10, help="best trials of which an ensemble is tried; 0: none")
    parser.add_argument("--families", default="lightgbm,xgboost,extra_trees,linear")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--address", help="of a cluster that runs; by default the command starts its own")
    parser.add_argument("--command", choices=["tune", "optimize"], default="tune")
    given = parser.parse_args()
    tables = {"1,000 rows": (small_table(1_000), "label", [])}
    if given.adult:
        tables["adult"] = (pacsv.read_csv(given.adult), "income", ["split"])
    heads = ["table", "limit, s", "whole command, s", "first result of a trial, s", "CPU until then, s", "trials"]
    print(f"| {' | '.join(heads)} | seconds by stage |")
    print("|---|---|---|---|---|---|---|")
    for name, (table, target, ignored) in tables.items():
        for _ in range(given.runs):
            with tempfile.TemporaryDirectory(prefix="optagent-limit-") as scratch:
                folder = Path(scratch)
                file = model_file(folder, table, target, ignored, given.families.split(","))
                arguments = ["--timeout", str(given.seconds), "--trials", str(given.trials), "--json"]
                if given.command == "tune":
                    arguments = ["tune", "timed", "--register", str(file), "--ensemble", str(given.members), *arguments]
                else:
                    run_command(folder, ["register", str(file)], None)
                    arguments = ["optimize", "timed", "full" if given.members else "tune", *arguments]
                timed = run_command(folder, arguments, given.address)
                if "error" in timed:
                    print(f"| {name} | {given.seconds:g} | {timed['seconds']:.1f} | {timed['error']} |", flush=True)
                    continue
                stages = stage_seconds(folder, timed["answer"], timed["began_at"], timed["seconds"])
                spelled = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
                line = f"| {name} | {given.seconds:g} | {timed['seconds']:.1f} | {timed['first']:.1f} "
                line += f"| {timed['cpu']:.1f} "
                print(f"{line}| {timed['answer'].get('trials', '')} | {spelled} |", flush=True)


if __name__ == "__main__":
    main()
