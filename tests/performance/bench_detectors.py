"""False alarms and detection delay by simulation: our rules beside those of Evidently, NannyML and river.

Part `windows`: 50 columns, a window of rows a day, shifts of some columns. Part `errors`: a stream of right and wrong
answers whose error rate rises. In each, nothing changes for long to count false alarms, with rows that are independent
and with rows that depend on each other, AR(1) .6. `--only errors` runs one part, `--runs` is a run a seed.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt
from river.drift import ADWIN, PageHinkley
from river.drift.binary import DDM
from scipy.signal import lfilter
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom, false_discovery_control, kstwo, norm, poisson

from optagent.analysis.binned_counts import BinCounter, BinnedCounts
from optagent.analysis.drift import report_drift
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import make_profile
from optagent.analysis.whole_windows import LiveWindows
from optagent.domain.drift import DriftStatus
from optagent.domain.model import Task
from optagent.sequential.block_baseline import baseline_of
from optagent.sequential.e_detector import e_detector

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Judge = Callable[[Matrix], bool]  # of a window: does it alarm? Called for each window in turn
Watch = Callable[[Vector, Vector], int | None]  # of reference and stream: the row of the first alarm

COLUMNS = 50
WINDOW = 1_000
REFERENCE = 10_000
DAY_S = 86_400.0
EVERY_DAYS = 90
QUIET_WINDOWS = 30
BEFORE, AFTER = 2, 12
SHIFTS = tuple((size, share) for size in (0.1, 0.25, 0.5) for share in (0.02, 0.1, 0.5))  # 1, 5 and 25 columns

LABELLED_REFERENCE = 2_000
QUIET_ROWS = 40_000
MOST_DELAY = 20_000
RUN_LENGTHS = (10_000, 50_000, 200_000)
Z_WINDOW = 500


def series(rng: np.random.Generator, rows: int, columns: int, correlation: float) -> Matrix:
    """Standard normal columns, each AR(1)."""
    noise = rng.standard_normal((rows, columns))
    if not correlation:
        return noise
    noise[1:] *= math.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise, axis=0))


# --- windows of rows ---------------------------------------------------------------------------------------------


def ours(statuses: Sequence[DriftStatus], reference: Matrix) -> Judge:
    profile = make_profile(_observed(reference, 0))
    folder = BinCounter(profile, 3600.0)
    seen: list[BinnedCounts] = []

    def judge(window: Matrix) -> bool:
        seen.append(folder.fold(_observed(window, len(seen))))
        report = report_drift(profile, LiveWindows(tuple(seen[:-3:-1])), {}, 1 / EVERY_DAYS)
        return report.status in statuses

    return judge


def _observed(x: Matrix, day: int) -> ObservedRows:
    """Rows of a day; the model's answer plays no part here."""
    rows = len(x)
    return ObservedRows(
        task=Task.REGRESSION,
        columns=tuple(ObservedColumn(f"f{index}", "numeric") for index in range(x.shape[1])),
        x=x.astype(np.float32),
        prediction=np.zeros(rows),
        y=np.full(rows, np.nan),
        time=(day + np.arange(rows) / rows) * DAY_S,
        latency_ms=np.full(rows, np.nan),
    )


def ks_p_values(reference: Matrix, window: Matrix) -> Vector:
    """As `scipy.stats.ks_2samp(method="asymp")` on each column; `reference` is sorted, which is most of the time."""
    many, few = len(reference), len(window)
    found = np.empty(reference.shape[1])
    for column in range(reference.shape[1]):
        values = np.sort(window[:, column])
        below = np.searchsorted(reference[:, column], values, side="right") / many
        before = np.searchsorted(reference[:, column], values, side="left") / many
        place = np.arange(few)
        found[column] = max((below - place / few).max(), ((place + 1) / few - before).max())
    return np.asarray(kstwo.sf(found, round(many * few / (many + few))))


def any_ks(reference: Matrix) -> Judge:
    ordered = np.sort(reference, axis=0)
    return lambda window: bool((ks_p_values(ordered, window) < 0.05).any())


def bh_ks(reference: Matrix) -> Judge:
    ordered = np.sort(reference, axis=0)
    return lambda window: bool((false_discovery_control(ks_p_values(ordered, window)) < 0.05).any())


def evidently(reference: Matrix) -> Judge:
    """Half of the columns at a Wasserstein distance of .1 standard deviations: the default above 1,000 rows.

    The distance is that of `scipy.stats.wasserstein_distance`, where the reference is a multiple of the window.
    """
    ordered, spread = np.sort(reference, axis=0), reference.std(axis=0)

    def judge(window: Matrix) -> bool:
        matched = np.repeat(np.sort(window, axis=0), len(reference) // len(window), axis=0)
        return bool((np.abs(ordered - matched).mean(axis=0) / spread >= 0.1).mean() >= 0.5)

    return judge


def nannyml(sigmas: float | None, reference: Matrix) -> Judge:
    """Jensen-Shannon distance on Doane's bins above .1, the default, or above mean + 3 sd of the reference's chunks."""
    edges = [np.histogram_bin_edges(reference[:, column], bins="doane") for column in range(COLUMNS)]
    shares = [np.histogram(reference[:, column], edge)[0] / len(reference) for column, edge in enumerate(edges)]

    def distances(window: Matrix) -> Vector:
        found = []
        for column, (edge, share) in enumerate(zip(edges, shares, strict=True)):
            now = np.histogram(window[:, column], edge)[0] / len(window)
            left = max(0.0, 1 - now.sum())
            found.append(jensenshannon(np.append(share, 0.0), np.append(now, left), base=2))
        return np.array(found)

    chunks = np.array([distances(chunk) for chunk in np.split(reference, len(reference) // WINDOW)])
    limit = np.full(COLUMNS, 0.1) if sigmas is None else chunks.mean(axis=0) + sigmas * chunks.std(axis=0)
    return lambda window: bool((distances(window) > limit).any())


def river_adwin(reference: Matrix) -> Judge:
    detectors = [ADWIN() for _ in range(COLUMNS)]

    def judge(window: Matrix) -> bool:
        alarm = False
        for detector, values in zip(detectors, window.T, strict=True):
            for value in values.tolist():
                detector.update(value)
                alarm = alarm or detector.drift_detected
        return alarm

    judge(reference)
    return judge


WINDOW_RULES: dict[str, Callable[[Matrix], Judge]] = {
    f"optagent, drifted (one false alarm in {EVERY_DAYS} windows)": partial(ours, (DriftStatus.DRIFTED,)),
    "optagent, drifted or suspected": partial(ours, (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)),
    "any KS at .05": any_ks,
    "KS + Benjamini-Hochberg at .05": bh_ks,
    "Evidently, default": evidently,
    "NannyML, default (.1)": partial(nannyml, None),
    "NannyML, 3 sigma": partial(nannyml, 3.0),
    "river, an ADWIN a column": river_adwin,
}


def quiet_windows(correlation: float, seed: int) -> dict[str, float]:
    """How many of the windows alarm by rule, where nothing changes."""
    rng = np.random.default_rng([1, seed, int(correlation * 10)])
    rows = series(rng, REFERENCE + QUIET_WINDOWS * WINDOW, COLUMNS, correlation)
    windows = np.split(rows[REFERENCE:], QUIET_WINDOWS)
    judges = {name: make(rows[:REFERENCE]) for name, make in WINDOW_RULES.items()}
    return {name: float(sum(judge(window) for window in windows)) for name, judge in judges.items()}


def shifted_windows(size: float, share: float, seed: int) -> dict[str, float]:
    """Windows from the shift to the alarm by rule, 1 for the first shifted one; infinite for none of them."""
    rng = np.random.default_rng([2, seed])
    rows = series(rng, REFERENCE + (BEFORE + AFTER) * WINDOW, COLUMNS, 0.0)
    rows[REFERENCE + BEFORE * WINDOW :, : max(1, round(share * COLUMNS))] += size
    windows = np.split(rows[REFERENCE:], BEFORE + AFTER)
    delays = {}
    for name, make in WINDOW_RULES.items():
        judge = make(rows[:REFERENCE])
        for window in windows[:BEFORE]:
            judge(window)
        found = (place for place, window in enumerate(windows[BEFORE:], start=1) if judge(window))
        delays[name] = float(next(found, math.inf))
    return delays


# --- a stream of right and wrong answers -------------------------------------------------------------------------


def our_detector(run_length: float, reference: Vector, stream: Vector) -> int | None:
    alarm = e_detector(baseline_of(reference), run_length).after(stream).alarm
    return None if alarm is None else alarm.row


def river_detector(make: Callable[[], ADWIN | PageHinkley | DDM], reference: Vector, stream: Vector) -> int | None:
    """It learns from the reference too; alarms there do not count, it starts again after them as river's do."""
    detector = make()
    for value in reference.tolist():
        detector.update(value)
    for row, value in enumerate(stream.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return row
    return None


def z_windows(run_length: float, reference: Vector, stream: Vector) -> int | None:
    """The mean of each window against that of the reference, at the level that gives the run length."""
    means = stream[: len(stream) // Z_WINDOW * Z_WINDOW].reshape(-1, Z_WINDOW).mean(axis=1)
    rate = reference.mean()
    error = math.sqrt(rate * (1 - rate) * (1 / Z_WINDOW + 1 / len(reference)))
    over = np.flatnonzero((means - rate) / error > norm.isf(Z_WINDOW / run_length))
    return int((over[0] + 1) * Z_WINDOW - 1) if len(over) else None


ERROR_RULES: dict[str, Watch] = {
    **{f"optagent (ARL {length:,} rows)": partial(our_detector, length) for length in RUN_LENGTHS},
    **{f"z-test, windows of {Z_WINDOW} (ARL {length:,})": partial(z_windows, length) for length in RUN_LENGTHS},
    "river ADWIN, default": partial(river_detector, ADWIN),
    "river Page-Hinkley, default": partial(river_detector, PageHinkley),
    "river DDM, default": partial(river_detector, DDM),
}


def answers(rng: np.random.Generator, rates: Vector, correlation: float) -> Vector:
    """1 where the answer is wrong; dependence comes from a latent Gaussian series."""
    return (norm.cdf(series(rng, len(rates), 1, correlation)[:, 0]) < rates).astype(float)


def quiet_errors(correlation: float, seed: int) -> dict[str, tuple[int, int]]:
    """Alarms (0 or 1) and the rows it took, or all rows, by rule."""
    rng = np.random.default_rng([3, seed, int(correlation * 10)])
    wrong = answers(rng, np.full(LABELLED_REFERENCE + QUIET_ROWS, 0.2), correlation)
    rows = {name: watch(*np.split(wrong, [LABELLED_REFERENCE])) for name, watch in ERROR_RULES.items()}
    return {name: (0, QUIET_ROWS) if row is None else (1, row + 1) for name, row in rows.items()}


def risen_errors(rate: float, correlation: float, seed: int) -> dict[str, float]:
    """Rows from the rise to the alarm by rule; NaN for an alarm before it, infinite for none."""
    rng = np.random.default_rng([4, seed, int(correlation * 10)])
    change = int(rng.integers(500, 3_500))
    rates = np.full(LABELLED_REFERENCE + change + MOST_DELAY, 0.2)
    rates[LABELLED_REFERENCE + change :] = rate
    wrong = answers(rng, rates, correlation)
    delays = {}
    for name, watch in ERROR_RULES.items():
        row = watch(*np.split(wrong, [LABELLED_REFERENCE]))
        delays[name] = math.inf if row is None else row + 1.0 - change if row >= change else math.nan
    return delays


# --- tables ------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def median(delays: Sequence[float]) -> float:
    """The upper one, of runs without an alarm before the change; infinite beyond what was looked at."""
    kept = sorted(delay for delay in delays if not math.isnan(delay))
    return kept[len(kept) // 2] if kept else math.nan


def said(delay: float, most: int) -> str:
    return "-" if math.isnan(delay) else f"> {most:,}" if math.isinf(delay) else f"{delay:,.0f}"


def sooner(case: str, false: dict[str, float], delays: dict[str, dict[str, float]]) -> None:
    """Says which others have as few false alarms as one of our rules, and whether any of them is sooner."""
    for our in (name for name in false if name.startswith("optagent")):
        as_few = [name for name in false if not name.startswith("optagent") and false[name] <= false[our]]
        better = [
            f"{name}: {what}" for name in as_few for what in delays[our] if delays[name][what] < delays[our][what]
        ]
        print(f"- {case}, {our}: as few false alarms have {as_few or 'none'}, sooner is {better or 'none'}")
    print(flush=True)


def windows_part(pool: ProcessPoolExecutor, runs: int) -> None:
    print(f"## {COLUMNS} columns, reference of {REFERENCE:,} rows, windows of {WINDOW:,} rows, {runs} runs\n")
    quiet = [list(pool.map(partial(quiet_windows, rho), range(runs))) for rho in (0.0, 0.6)]
    shifted = [list(pool.map(partial(shifted_windows, *shift), range(runs))) for shift in SHIFTS]
    looked = runs * QUIET_WINDOWS
    false = {name: [sum(run[name] for run in case) / looked for case in quiet] for name in WINDOW_RULES}
    delays = {name: [median([run[name] for run in case]) for case in shifted] for name in WINDOW_RULES}
    columns = [f"{size} sd in {max(1, round(share * COLUMNS))}" for size, share in SHIFTS]
    print("Share of windows with a false alarm; median delay in windows, 1 for the first one shifted.\n")
    rows = ([name, *(f"{x:.1%}" for x in false[name]), *(said(x, AFTER) for x in delays[name])] for name in false)
    table(["rule", "i.i.d.", "AR(1) .6", *columns], rows)
    most = binom.ppf(0.99, looked, 1 / EVERY_DAYS)
    for name, shares in list(false.items())[:2]:
        for case, share in zip(("i.i.d.", "AR(1) .6"), shares, strict=True):
            verdict = "within" if share * looked <= most else "ABOVE"
            print(f"- {name}, {case}: {share * looked:.0f} in {looked} windows, at most {most:.0f}: {verdict}")
    print()
    named = {name: dict(zip(columns, found, strict=True)) for name, found in delays.items()}
    sooner("in both cases", {name: max(found) for name, found in false.items()}, named)


def errors_part(pool: ProcessPoolExecutor, runs: int) -> None:
    print(f"## Error rate of .2, reference of {LABELLED_REFERENCE:,} rows, {runs} runs\n")
    cases = [(rate, rho) for rho in (0.0, 0.6) for rate in (0.3, 0.25)]
    quiet = [list(pool.map(partial(quiet_errors, rho), range(runs))) for rho in (0.0, 0.6)]
    risen = [list(pool.map(partial(risen_errors, *case), range(runs))) for case in cases]
    alarms = {name: [sum(run[name][0] for run in case) for case in quiet] for name in ERROR_RULES}
    exposure = {name: [sum(run[name][1] for run in case) for case in quiet] for name in ERROR_RULES}
    false = {name: [1e4 * a / b for a, b in zip(alarms[name], exposure[name], strict=True)] for name in ERROR_RULES}
    delays = {name: [median([run[name] for run in case]) for case in risen] for name in ERROR_RULES}
    columns = [f".2 -> {rate}{', AR(1) .6' if rho else ''}" for rate, rho in cases]
    print("False alarms per 10,000 rows until the first of a run; median delay in rows, of runs without one before.\n")
    rows = ([name, *(f"{x:.2f}" for x in false[name]), *(said(x, MOST_DELAY) for x in delays[name])] for name in false)
    table(["rule", "i.i.d.", "AR(1) .6", *columns], rows)
    for name, length in zip(ERROR_RULES, RUN_LENGTHS, strict=False):
        for case, count, seen in zip(("i.i.d.", "AR(1) .6"), alarms[name], exposure[name], strict=True):
            most = poisson.ppf(0.99, seen / length)
            verdict = "within" if count <= most else "ABOVE"
            print(f"- {name}, {case}: {count} false alarms, {seen / length:.1f} allowed, at most {most:.0f}: {verdict}")
    print()
    for place, case in enumerate(("i.i.d.", "AR(1) .6")):
        of_case = {name: dict(zip(columns, found, strict=True)) for name, found in delays.items()}
        named = {name: dict(list(found.items())[2 * place : 2 * place + 2]) for name, found in of_case.items()}
        sooner(case, {name: found[place] for name, found in false.items()}, named)


PARTS = {"windows": (windows_part, 10), "errors": (errors_part, 200)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, help="seeds a case; by default 10 for windows and 200 for errors")
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        for name, (part, runs) in PARTS.items():
            if options.only in (None, name):
                started = time.perf_counter()
                part(pool, options.runs or runs)
                print(f"{time.perf_counter() - started:.0f} s\n")


if __name__ == "__main__":
    main()
