"""`make bench-search`: what a trial costs, and how soon a search is good, beside plain Ray Tune and plain Optuna.

Each table is printed from one run, as times and ratios. `--only overhead` runs one part; `--data` is the folder with
the tables of the parts `stopping` and `flights`, which are left out where it has no nycflights13.parquet.
"""

import argparse
import concurrent.futures
import contextlib
import gc
import math
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.csv as pacsv

from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.adapters.search.ray_tune import RayTuner
from optagent.analysis.pareto import hypervolume
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.study import Budget, Objective, Study, Trial
from optagent.errors import Cancelled
from optagent.training.encoding import fit_schema, load_data
from optagent.training.families.registry import family_named
from optagent.training.metrics import METRICS
from optagent.training.problem import Data, Fold, Problem

DATA = Path(__file__).parents[3] / "shared" / "data"


def problem_of(rows: int, columns: int, seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    y = (x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + rng.normal(size=rows) > 0).astype(np.float64)
    where = np.arange(rows)
    folds = (Fold(where[: rows // 2], where[rows // 2 :]),)
    return Problem(Data(x, y, tuple(f"f{index}" for index in range(columns)), Task.BINARY, n_classes=2), folds)


def study_of(name: str, family: str, **changes: Any) -> Study:
    chosen = family_named(family)
    return replace(
        Study(
            study_id=name,
            model_id="bench",
            task=Task.BINARY,
            metric="auc",
            maximize=True,
            spaces={family: chosen.space(Task.BINARY)},
            defaults={family: chosen.defaults(Task.BINARY)},
            timeout_s=3600.0,
        ),
        **changes,
    )


def overhead(cluster: RayCluster) -> None:
    """A trial of almost no work, 2,000 in one study, beside plain `tune.Tuner`."""
    ended: list[float] = []
    once = Budget(grace_units=81)  # one report a trial, as the trivial function of plain Tune gives
    study = study_of("overhead", "linear", trials=2000, sampler="random", stopping="none", budget=once)
    with tempfile.TemporaryDirectory() as folder:
        tuner = RayTuner(cluster, f"sqlite:///{folder}/trials.db")
        tuner.search(study, problem_of(40, 3), on_trial=lambda trial: ended.append(time.perf_counter()))
    steps = np.diff(ended)
    ours, start, end = (float(part.mean() * 1000) for part in (steps[100:], steps[100:300], steps[-200:]))
    plain = plain_tune(12)
    print("| a trivial trial | ms | ratio |\n|---|---|---|")
    print(f"| plain tune.Tuner, defaults (12 trials) | {plain:.0f} | {plain / ours:.0f} |")
    print(f"| ours (2,000 trials, trial store on SQLite) | {ours:.1f} | 1 |")
    print(f"| ours, last 200 of them over the first | {end:.1f} / {start:.1f} | {end / start:.2f} |")


def plain_tune(trials: int) -> float:
    from ray import tune

    def trivial(config: dict[str, float]) -> dict[str, float]:
        return {"score": config["x"]}

    with tempfile.TemporaryDirectory() as folder:
        started_at = time.perf_counter()
        tune.Tuner(
            trivial,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, metric="score", mode="max"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        return (time.perf_counter() - started_at) / trials * 1000


def flights(folder: Path, rows: int) -> Problem:
    import pyarrow.parquet as pq

    columns = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", "temp", "dewp", "humid"]
    columns += ["wind_dir", "wind_speed", "precip", "pressure", "visib"]
    texts = ["carrier", "origin", "dest"]
    table = pq.read_table(folder / "nycflights13.parquet").to_pandas()
    table = table[table["arr_delay"].notna()].iloc[:: max(1, len(table) // rows)][:rows]
    codes = [table[name].astype("category").cat.codes.to_numpy() for name in texts]
    x = np.column_stack([table[columns].to_numpy(dtype=np.float32), *codes]).astype(np.float32)
    y = (table["arr_delay"] > 15).to_numpy(dtype=np.float64)
    where, cut = np.arange(len(y)), int(len(y) * 0.75)
    categorical = tuple(range(len(columns), len(columns) + len(texts)))
    levels = tuple(int(code.max()) + 1 for code in codes)
    data = Data(np.ascontiguousarray(x), y, (*columns, *texts), Task.BINARY, categorical, levels, 2)
    return Problem(data, (Fold(where[:cut], where[cut:]),))


def time_to_best(folder: Path, rows: int, seeds: int) -> None:
    """Wall time until the best score that Optuna (n_jobs=2, MedianPruner) finds in its trials.

    Each of the two runs in a process of its own, where loading the libraries and starting Ray counts.
    """
    of_all, of_best = [], []
    for seed in range(seeds):
        try:
            best, found_s, all_s = alone(plain_optuna, folder, rows, 100, seed)
        except BrokenProcessPool:
            print(f"| {rows:,} | {seed} | Optuna's process crashed (LightGBM in two threads) | | |", flush=True)
            continue
        reached = alone(time_to_reach, best, folder, rows, seed)
        of_all.append(reached / all_s)
        of_best.append(reached / found_s)
        print(f"| {rows:,} | {seed} | {best:.5f} | {found_s:.1f} of {all_s:.1f} | {reached:.1f} |", flush=True)
    print(f"| {rows:,} | median | ratio | {statistics.median(of_best):.2f} of {statistics.median(of_all):.2f} | |")


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """What `work` returns, in a process that starts and ends with it."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *given).result()


def time_to_reach(score: float, folder: Path, rows: int, seed: int, most: int = 500) -> float:
    """Seconds until a trial of ours has at least this score, infinite where none of `most` has."""
    problem, reached = flights(folder, rows), list[float]()

    def look(trial: Trial) -> None:
        if not reached and (trial.score or 0.0) >= score:
            reached.append(time.perf_counter() - began)

    began = time.perf_counter()
    cluster = RayCluster(num_cpus=2)
    # Judged after 1, 2, 4, 8 ... times ten rounds; Optuna's rule judges after each ten.
    often = Budget(grace_units=1, reduction_factor=2)
    study = study_of(f"flights{rows}-{seed}", "lightgbm", trials=most, stopping="median", budget=often, seed=seed)
    with contextlib.suppress(Cancelled):
        RayTuner(cluster).search(study, problem, on_trial=look, cancelled=lambda: bool(reached))
    cluster.close()
    return reached[0] if reached else math.inf


def plain_optuna(folder: Path, rows: int, trials: int, seed: int) -> tuple[float, float, float]:
    """The best of Optuna's trials, the seconds until it was found, and those of all, as its users would write it.

    LightGBM has the same seed as in ours, and the score is read at each tenth round, as ours is: another seed, or the
    best of every round, is better or worse by chance alone.
    """
    problem = flights(folder, rows)
    began = time.perf_counter()
    import lightgbm
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study_space, fold, auc = family_named("lightgbm").space(Task.BINARY), problem.folds[0], METRICS["auc"]
    x, y = problem.data.x, problem.data.y
    found: list[tuple[float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        params = {
            "objective": "binary",
            "metric": "none",
            "verbose": -1,
            "num_threads": 1,
            "bagging_freq": 1,
            "seed": seed,
        }
        for item in study_space:
            if hasattr(item, "choices"):
                params[item.name] = trial.suggest_categorical(item.name, item.choices)
            elif isinstance(item.low, int):
                params[item.name] = trial.suggest_int(item.name, item.low, item.high, log=item.log)
            else:
                params[item.name] = trial.suggest_float(item.name, item.low, item.high, log=item.log)
        learn = lightgbm.Dataset(x[fold.train], y[fold.train], categorical_feature=list(problem.data.categorical))
        valid = lightgbm.Dataset(x[fold.valid], y[fold.valid], reference=learn)

        booster = lightgbm.Booster(params, learn)
        booster.add_valid(valid, "valid")

        def score(prediction: np.ndarray, data: lightgbm.Dataset) -> tuple[str, float, bool]:
            return "auc", auc.score(y[fold.valid], prediction), True

        top, since = 0.0, 0
        for step in range(10, 811, 10):
            for _ in range(10):
                booster.update()
            value = booster.eval_valid(score)[0][2]
            top, since = (value, step) if value > top else (top, since)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
            if step - since >= 50:
                break
        found.append((top, time.perf_counter() - began))
        return top

    sampler, pruner = optuna.samplers.TPESampler(seed=seed), optuna.pruners.MedianPruner()
    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(objective, trials, n_jobs=2)
    return (*max(found), time.perf_counter() - began)


def several_objectives(cluster: RayCluster) -> None:
    """Hypervolume of quality and latency within the same time, with MO-ASHA and without early stopping."""
    problem = problem_of(8000, 12)
    others = (Objective("latency_p99_ms", False),)
    ratios = []
    for seed in range(3):
        found = {}
        for stopping in ("asha", "none"):
            study = study_of(f"mo-{stopping}-{seed}", "lightgbm", trials=10_000, timeout_s=40.0, seed=seed)
            outcome = RayTuner(cluster).search(replace(study, others=others, stopping=stopping), problem)
            done = [trial for trial in outcome.trials if trial.state == "complete" and trial.score is not None]
            found[stopping] = np.array([[trial.score, -trial.others["latency_p99_ms"]] for trial in done])
        reference = np.vstack(list(found.values())).min(axis=0) - 1e-9
        ratios.append(hypervolume(found["asha"], reference) / hypervolume(found["none"], reference))
    print("| hypervolume at 40 s, MO-ASHA over plain TPE | by seed | median |\n|---|---|---|")
    print(f"| auc and latency | {', '.join(f'{ratio:.3f}' for ratio in ratios)} | {statistics.median(ratios):.3f} |")


def stopping_rules(folder: Path, seeds: int = 3, seconds: float = 20.0) -> None:
    """The best score after the same time, starting the workers included, under each rule of early stopping."""
    print(f"| best auc after {seconds:g} s, mean of {seeds} seeds | no stopping | asha | median |\n|---|---|---|---|")
    cluster = RayCluster(num_cpus=2)
    cluster.connect()
    for name, problem in tables(folder):
        means = []
        for rule in ("none", "asha", "median"):
            found = []
            for seed in range(seeds):
                study = study_of(
                    f"{name}-{rule}-{seed}", "lightgbm", trials=10_000, timeout_s=seconds, stopping=rule, seed=seed
                )
                best = RayTuner(cluster).search(study, problem).best(True)
                found.append(0.0 if best is None or best.score is None else best.score)
            means.append(statistics.mean(found))
        print(f"| {name}, {len(problem.data):,} rows | {' | '.join(f'{mean:.4f}' for mean in means)} |", flush=True)
    cluster.close()


def tables(folder: Path) -> Iterator[tuple[str, Problem]]:
    """Binary tables, their last quarter to score on."""
    yield "flights", flights(folder, 40_000)
    for name, file, target, ignored in (
        ("adult", "adult.csv.gz", "income", ("split",)),
        ("electricity", "elec2.csv.gz", "class", ("date", "nswprice")),
        ("bank", "bank_additional.csv.gz", "y", ("duration",)),
    ):
        table = pacsv.read_csv(folder / file)
        spec = ModelSpec(model_id=name, task=Task.BINARY, data=FileSource(file), target=target, ignore=ignored)
        data = load_data(table, fit_schema(table, spec))
        where, cut = np.arange(len(data)), int(len(data) * 0.75)
        yield name, Problem(data, (Fold(where[:cut], where[cut:]),))


def memory(cluster: RayCluster) -> None:
    """Peak memory of driver, workers and shared memory, beyond that of the same search on 1,000 rows.

    LightGBM's own is what one process of its own takes to bin and train on the same rows.
    """
    rows, columns, workers = 1_000_000, 50, 2
    matrix = rows * columns * 4 / 1e6
    floor, whole = (_search_peak_mb(cluster, count, columns) for count in (1_000, rows))
    library = alone(_library_peak_mb, rows, columns)
    ours = whole - floor - workers * library
    print(f"| {rows:,} x {columns} float32, {workers} workers | MB | over the matrix |\n|---|---|---|")
    print(f"| the matrix | {matrix:.0f} | 1 |")
    print(f"| LightGBM's own, one worker | {library:.0f} | {library / matrix:.2f} |")
    print(f"| the search, beyond that of 1,000 rows | {whole - floor:.0f} | {(whole - floor) / matrix:.2f} |")
    print(f"| the search without LightGBM's own | {ours:.0f} | {ours / matrix:.2f} |")


def _search_peak_mb(cluster: RayCluster, rows: int, columns: int) -> float:
    tuner = RayTuner(cluster)
    problem = tuner.share(problem_of(rows, columns))
    gc.collect()
    with _peak_mb() as peak:
        tuner.search(study_of(f"memory-{rows}", "lightgbm", trials=6, sampler="random"), problem)
    return peak[0]


def _library_peak_mb(rows: int, columns: int) -> float:
    import lightgbm

    data, fold = problem_of(rows, columns).data, slice(0, rows // 2)
    gc.collect()
    before = psutil.Process().memory_full_info().pss / 1e6
    with _peak_mb() as peak:
        learned = lightgbm.Dataset(data.x[fold], data.y[fold], params={"verbose": -1}).construct()
        watched = lightgbm.Dataset(data.x[rows // 2 :], data.y[rows // 2 :], reference=learned).construct()
        booster = lightgbm.Booster({"objective": "binary", "num_threads": 1, "verbose": -1}, learned)
        booster.add_valid(watched, "valid")
        for _ in range(20):
            booster.update()
    return peak[0] - before


@contextlib.contextmanager
def _peak_mb() -> Iterator[list[float]]:
    """The most that this process and its children take, in megabytes; what they share counts once."""
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            taken = 0.0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    taken += process.memory_full_info().pss / 1e6
            peak[0] = max(peak[0], taken)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield peak
    stop.set()
    watcher.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("overhead", "flights", "stopping", "objectives", "memory"))
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 100_000], help="of the part flights")
    parser.add_argument("--seeds", type=int, default=5, help="of the part flights")
    parser.add_argument("--data", type=Path, default=DATA)
    given = parser.parse_args()

    def wanted(part: str) -> bool:
        return given.only in (None, part)

    parts: dict[str, Callable[[RayCluster], None]] = {
        "overhead": overhead,
        "objectives": several_objectives,
        "memory": memory,
    }
    for name, part in parts.items():
        if wanted(name):
            cluster = RayCluster(num_cpus=2)
            cluster.connect()
            part(cluster)
            cluster.close()
            print()
    if not (given.data / "nycflights13.parquet").exists():
        print(f"flights and stopping left out: no nycflights13.parquet in {given.data}")
        return
    if wanted("stopping"):
        stopping_rules(given.data)
        print()
    if wanted("flights"):
        print("| rows | seed | Optuna's best auc of 100 trials | found after s of all s | reached by ours after s |")
        print("|---|---|---|---|---|")
        for rows in given.rows:
            time_to_best(given.data, rows, given.seeds)


if __name__ == "__main__":
    main()
