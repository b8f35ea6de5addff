"""Whether generated features are the right ones, and whether they help: planted ones, pure noise, and real tables.

Part `planted`: products and ratios hidden among 50 columns of noise. Part `noise`: a target that nothing tells of.
Part `real`: adult, bank and flights, with the proven interval and the score on a holdout that nothing saw. `--data` is
the folder of their files, without which that part is left out.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from optagent.analysis.bootstrap import Resampling
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.features.proposal import FeatureProposal, ProposalLimits
from optagent.features.propose import propose_features
from optagent.training.encoding import encode_target, fit_schema, load_data, target_schema
from optagent.training.families.registry import family_named
from optagent.training.folds import make_folds, split
from optagent.training.label_parts import label_parts
from optagent.training.metrics import METRICS, metric_named
from optagent.training.problem import Data, Fold, Problem
from optagent.training.recipe import refit
from optagent.training.row_times import instants
from optagent.training.steps import Product, Ratio, Step
from optagent.training.transform import Transformer, transform_data

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS, NOISE, FOLDS = 4_000, 50, 4
PLANTED: tuple[Step, ...] = (Product("x0", "x1"), Product("x2", "x3"), Ratio("x4", "x5"), Ratio("x6", "x7"))
LIGHTGBM = family_named("lightgbm")
SMALL = {"num_leaves": 15}


def random_folds(rows: int, rng: np.random.Generator) -> tuple[Fold, ...]:
    part = rng.permutation(rows) % FOLDS
    return tuple(Fold(np.flatnonzero(part != fold), np.flatnonzero(part == fold)) for fold in range(FOLDS))


def planted(seed: int, task: Task) -> Problem:
    """Two products of normal columns and two ratios of positive ones, of one variance, and noise of a quarter of it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 8 + NOISE)).astype(np.float32)
    x[:, 4:8] = np.exp(0.6 * x[:, 4:8])
    x[:, 8::2] = np.exp(0.6 * x[:, 8::2])  # of the noise, every other column is positive too
    terms = [x[:, 0] * x[:, 1], x[:, 2] * x[:, 3], x[:, 4] / x[:, 5], x[:, 6] / x[:, 7]]
    signal = sum((term - term.mean()) / term.std() for term in terms) + 0.5 * rng.normal(size=ROWS)
    y = (signal > np.median(signal)).astype(np.float64) if task is Task.BINARY else np.asarray(signal, dtype=np.float64)
    names = tuple(f"x{index}" for index in range(x.shape[1]))
    data = Data(x=x, y=y, names=names, task=task, n_classes=2 if task is Task.BINARY else 0)
    return Problem(data, random_folds(ROWS, rng))


def is_found(step: Step, plan: tuple[Step, ...]) -> bool:
    """The same kind of the same two columns; the inverse of a ratio ranks rows alike."""
    return any(each.kind == step.kind and set(each.columns) == set(step.columns) for each in plan)


def planted_runs(seeds: int) -> None:
    print(f"{len(PLANTED)} planted among {8 + NOISE} columns, {ROWS:,} rows, {seeds} seeds\n")
    print("| task | found | false a run | proposals accepted | score | with features | seconds a run |")
    print("|---|---|---|---|---|---|---|")
    for task in (Task.BINARY, Task.REGRESSION):
        metric, found, false, accepted, scores, began = metric_named("", task), 0, 0, 0, [], time.perf_counter()
        for seed in range(seeds):
            proposal = propose_features(planted(seed, task), LIGHTGBM, metric, params=SMALL, rounds=100, seed=seed)
            steps = proposal.plan.steps if proposal.accepted and proposal.plan else ()
            hits = [step for step in PLANTED if is_found(step, steps)]
            odd = [step.name for step in steps if not any(is_found(each, (step,)) for each in PLANTED)]
            missed = [step.name for step in PLANTED if step not in hits]
            if odd or missed:
                print(f"<!-- seed {seed}: missed {missed}, false {odd} -->", flush=True)
            found, false, accepted = found + len(hits), false + len(odd), accepted + proposal.accepted
            scores.append((proposal.plain_score or np.nan, proposal.score or np.nan))
        plain, made = np.mean(scores, axis=0)
        print(
            f"| {task} | {found / seeds / len(PLANTED):.1%} | {false / seeds:.2f} | {accepted} of {seeds} "
            f"| {metric.name} {plain:.4f} | {made:.4f} | {(time.perf_counter() - began) / seeds:.1f} |",
            flush=True,
        )


def noise_runs(runs: int, rows: int = 1_000, columns: int = 20) -> None:
    accepted, above = 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(10_000 + seed)
        x = rng.normal(size=(rows, columns)).astype(np.float32)
        y = (rng.random(rows) < 0.3).astype(np.float64)
        names = tuple(f"x{index}" for index in range(columns))
        data = Data(x=x, y=y, names=names, task=Task.BINARY, n_classes=2)
        proposal = propose_features(Problem(data, random_folds(rows, rng)), LIGHTGBM, METRICS["log_loss"], seed=seed)
        accepted, above = accepted + proposal.accepted, above + bool(proposal.features)
    print(
        f"\nPure noise, {runs} runs of {rows:,} rows and {columns} columns, alpha .05: {above} found anything at all,"
    )
    print(f"{accepted} accepted anything", flush=True)


# --- real tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    name: str
    file: str
    spec: ModelSpec
    every: int = 1


def specs() -> Iterator[Real]:
    def spec(name: str, file: str, **fields: object) -> ModelSpec:
        return ModelSpec(model_id=name, task=Task.BINARY, data=FileSource(file), folds=FOLDS, **fields)  # type: ignore[arg-type]

    yield Real("adult", "adult.csv.gz", spec("adult", "adult.csv.gz", target="income", ignore=("split",)))
    yield Real(
        "bank",
        "bank_additional.csv.gz",
        spec("bank", "bank_additional.csv.gz", target="y", ignore=("duration",), rows_in_time_order=True),
    )
    left_out = ("dep_delay", "arr_delay", "dep_time", "arr_time", "air_time", "tailnum", "time_hour", "year", "day")
    yield Real(
        "flights",
        "nycflights13.parquet",
        spec("flights", "nycflights13.parquet", target="late", ignore=left_out, rows_in_time_order=True),
        every=4,
    )


def table_of(real: Real, folder: Path) -> pa.Table:
    if real.file.endswith(".gz"):
        return pv.read_csv(folder / real.file)
    frame = pq.read_table(folder / real.file).to_pandas()
    frame = frame[frame["arr_delay"].notna()].sort_values(["month", "day", "sched_dep_time"], kind="stable")
    frame["late"] = (frame["arr_delay"] > 15).astype(int)
    return pa.Table.from_pandas(frame.iloc[:: real.every], preserve_index=False)


def real_runs(folder: Path) -> None:
    print("\n| table | rows | plain | with features | better by, out of fold | verdict | holdout, plain | with | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for real in specs():
        if (folder / real.file).exists():
            real_run(real, table_of(real, folder))
        else:
            print(f"| {real.name} | left out: there is no {real.file} in {folder} | | | | | | | |")


def real_run(real: Real, table: pa.Table) -> None:
    spec, metric, began = real.spec, METRICS["log_loss"], time.perf_counter()
    y, _ = encode_target(table, target_schema(table, spec))
    when = instants(table, spec)
    parts = split(when, y, spec)
    dev = table.take(pa.array(parts.dev))
    schema = fit_schema(dev, spec)
    data, holdout = load_data(dev, schema), load_data(table.take(pa.array(parts.holdout)), schema)
    dev_time = None if when is None else when[parts.dev]
    data = replace(data, parts=label_parts(dev_time))
    folds = make_folds(dev_time, data.y, spec, np.arange(len(data)))
    how = Resampling(time_ordered=when is not None)
    proposal = propose_features(Problem(data, folds), LIGHTGBM, metric, how=how, limits=ProposalLimits(seconds=1800))
    plain, made = holdout_scores(proposal, data, holdout)
    shown = [step.name for step in proposal.plan.steps] if proposal.plan else []
    interval = proposal.improvement
    gain = f"{interval.estimate:.5f} ({interval.low:.5f} to {interval.high:.5f})" if interval else "nothing found"
    print(
        f"| {real.name} | {len(data):,} | {said(proposal.plain_score)} | {said(proposal.score)} "
        f"| {gain} | {'accepted' if proposal.accepted else 'kept plain'}: {', '.join(shown) or 'none'} "
        f"| {plain:.5f} | {made:.5f} | {time.perf_counter() - began:.0f} |",
        flush=True,
    )
    print(f"<!-- {proposal.why} -->", flush=True)


def said(score: float | None) -> str:
    return "" if score is None else f"{score:.5f}"


def holdout_scores(proposal: FeatureProposal, data: Data, holdout: Data) -> tuple[float, float]:
    """Of both models on all development rows, whether the proposal was accepted or not."""
    rows, params, metric = np.arange(len(data)), LIGHTGBM.defaults(data.task), METRICS["log_loss"]
    plain = refit(LIGHTGBM, params, data, rows, proposal.rounds, threads=2)
    before = metric.score(holdout.y, plain.predict(holdout.x))
    if proposal.plan is None:
        return before, before
    made = refit(LIGHTGBM, params, transform_data(proposal.plan, data), rows, proposal.rounds, threads=2)
    return before, metric.score(holdout.y, made.predict(Transformer(proposal.plan)(holdout.x)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["planted", "noise", "real"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--data", type=Path, default=DATA)
    chosen = parser.parse_args()
    began = time.perf_counter()
    if chosen.only in (None, "planted"):
        planted_runs(chosen.seeds)
    if chosen.only in (None, "noise"):
        noise_runs(chosen.runs)
    if chosen.only in (None, "real"):
        real_runs(chosen.data)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
