"""Refit and the gate before it: loss on the next period, and verdicts beside a champion that has learned newer rows."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.domain.dataset import FileSource
from optagent.domain.gate import Gates, Verdict
from optagent.domain.model import ModelSpec, ModelVersion, Task
from optagent.loop.context import Ports
from optagent.loop.gates.rival import Rival, find_rival
from optagent.loop.train.build import BuiltModel, build_recipe
from optagent.loop.train.holdout import Baseline, HoldoutTest, compare_on_holdout
from optagent.loop.train.prepare import PreparedRows
from optagent.loop.train.refit import prepare_refit
from optagent.loop.train.register import register_version
from optagent.loop.train.training_rows import TrainingRows, prepare_window
from optagent.loop.train.training_window import window_named
from optagent.training.encoding import encode
from optagent.training.families.registry import family_named
from optagent.training.metrics import metric_named
from optagent.training.recipe import Recipe
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, Series, autoregressive, daily_cycle, day_effects, request_times

LOG_LOSS = metric_named("log_loss", Task.BINARY)
SPEC = ModelSpec("m", Task.BINARY, FileSource("rows"), "label", time_column="at", families=("lightgbm",))
ROWS, ROWS_A_DAY, COLUMNS = 6000, 100.0, 10
ELEC2 = os.environ.get("ELEC2", "")
"""The file of the electricity market: `make bench-decisions ELEC2=elec2.csv.gz`. Without it, its row is left out."""


def logistic_rows(seed: int, rows: int = ROWS, drift: float = 0.0, stream: str = "iid") -> pa.Table:
    """Rows of ten columns whose log odds are linear; with `drift` the weights walk, so that they differ in the end.

    `stream` adds an effect that no column tells: `ar` of memory .9 by row, `cycle` of the hours, `days` of whole days,
    `late` of days whose effects the labels of the three days before share.
    """
    rng, at = np.random.default_rng([seed, 3]), request_times(rows, ROWS_A_DAY)
    x = rng.standard_normal((rows, COLUMNS))
    steps = rng.standard_normal((rows, COLUMNS)) / np.sqrt(rows)
    weights = rng.standard_normal(COLUMNS) / np.sqrt(3) + drift * np.cumsum(steps, axis=0)
    odds = (x * weights).sum(axis=1) + 0.7 * _hidden_effect(rng, at, stream)
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    columns = {f"x{index}": x[:, index] for index in range(COLUMNS)}
    return pa.table({"at": (at * 1e6).astype("int64").astype("datetime64[us]"), **columns, "label": label})


def _hidden_effect(rng: np.random.Generator, at: Series, stream: str) -> Series:
    if stream == "ar":
        return autoregressive(rng, len(at), 0.9)
    if stream == "days":
        return day_effects(rng, at)
    if stream == "late":
        days = autoregressive(rng, int(at[-1] // DAY_S) + 4, 0.0)
        return (np.convolve(days, np.ones(4), "valid") / 2)[(at // DAY_S).astype(np.int64)]
    return daily_cycle(at) if stream == "cycle" else np.zeros(len(at))


def spec_of(stream: str) -> ModelSpec:
    return replace(SPEC, label_horizon="4d") if stream == "late" else SPEC


def default_recipe(rounds: int = 100) -> Recipe:
    family = family_named("lightgbm")
    return Recipe("defaults", family.name, family.defaults(Task.BINARY), rounds)


def build(prepared: PreparedRows, rounds: int = 100) -> BuiltModel:
    return build_recipe(default_recipe(rounds), prepared, 0, 1)


def refit_of(rows: TrainingRows, judged: PreparedRows) -> PreparedRows:
    return prepare_refit(rows, judged, "expanding", "1")


def loss_on(built: BuiltModel, prepared: PreparedRows, table: pa.Table) -> float:
    """The log loss of a model on later rows, by the encoding that it was trained with."""
    label = table[prepared.spec.target].to_numpy().astype(np.float64)
    return LOG_LOSS.score(label, built.model.predict(encode(table, prepared.schema)))


def losses_next(known: TrainingRows, later: pa.Table) -> tuple[float, float]:
    """The losses on later rows of the measured version and of its refit."""
    measured = known.prepare(0)
    refit = refit_of(known, measured)
    return loss_on(build(measured), measured, later), loss_on(build(refit), refit, later)


def loss_change(runs: int, drift: float, stream: str) -> float:
    """The change of the next period's log loss by a refit, in percent; the period is a tenth of the rows."""
    losses = []
    for seed in range(runs):
        table = logistic_rows(seed, ROWS + ROWS // 10, drift, stream)
        losses.append(losses_next(TrainingRows(SPEC, table.slice(0, ROWS)), table.slice(ROWS)))
    return _percent(losses)


def loss_change_on_history(runs: int, name: str) -> float:
    """The same over so many origins of a real history, each followed by 91 or 20 days."""
    spec, table, times, length = _history(name)
    losses = []
    for start in np.linspace(times[len(times) // 4], times[-1] - length, runs):
        until, end = np.searchsorted(times, [start - spec.label_delay_s, start + length])
        known = TrainingRows(spec, table.slice(0, int(until)))
        after = int(np.searchsorted(times, start))
        losses.append(losses_next(known, table.slice(after, int(end) - after)))
    return _percent(losses)


def _percent(losses: list[tuple[float, float]]) -> float:
    measured, refit = np.array(losses).mean(axis=0)
    return float(100 * (refit / measured - 1))


@lru_cache
def _history(name: str) -> tuple[ModelSpec, pa.Table, Series, float]:
    """The specification of a history, its rows in order, their times, and the seconds of a period."""
    from tests.performance.histories import elec2, stocks

    told = stocks("turbulent") if name == "stocks" else elec2(Path(ELEC2), 10_000)
    spec = replace(told.spec, holdout_fraction=0.2, families=("lightgbm",))
    times = told.table[spec.time_column].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
    return spec, told.table, times, (91 if name == "stocks" else 20) * DAY_S


def ports_of(registry: InMemoryRegistry) -> Ports:
    clock = ManualClock(0.0)
    return Ports(InMemoryStore(clock), InMemoryDatasets({}), SequentialTuner(), registry, InMemoryTracker(), clock)


def judge(rival: Rival, built: BuiltModel, test: HoldoutTest) -> Verdict:
    """The verdict of the champion gate at its first look; inconclusive without a rival."""
    if rival.baseline is None:
        return Verdict.INCONCLUSIVE
    return compare_on_holdout(built.model.predict(test.prepared.holdout.x), rival.baseline, test).verdict


def verdicts_on_short_window(runs: int, stream: str) -> Iterator[Verdict]:
    """Verdicts on a candidate of all rows, which is better than its champion of the newest eighth of the same rows."""
    for seed in range(runs):
        rows = TrainingRows(spec_of(stream), logistic_rows(seed, stream=stream))
        whole = rows.prepare(0)
        narrow = prepare_window(rows, whole, window_named("newest 12%", whole), 0)
        registry = InMemoryRegistry(ManualClock(0.0))
        champion = register_version(build(narrow), narrow, "p", ports_of(registry))
        test = HoldoutTest(whole, LOG_LOSS, 0.05, seed)
        yield judge(find_rival(champion, Gates(), test, registry), build(whole), test)


def better_candidates_failed(runs: int, stream: str) -> float:
    """The share of better candidates that fail at the gate."""
    return float(np.mean([each is Verdict.FAIL for each in verdicts_on_short_window(runs, stream)]))


def better_candidates_passed(runs: int, stream: str) -> float:
    """The share of better candidates that pass the gate."""
    return float(np.mean([each is Verdict.PASS for each in verdicts_on_short_window(runs, stream)]))


def equal_candidates_failed(runs: int, stream: str) -> float:
    """The share of candidates that fail though they are as good as the champion, which has learned newer rows.

    Both learned from as many rows of a stream that does not change; half of the candidate's holdout is the champion's.
    """
    verdicts = []
    for seed in range(runs):
        table = logistic_rows(seed, 4000, stream=stream)
        older, newer = (TrainingRows(spec_of(stream), table.slice(start, 3500)) for start in (0, 500))
        candidate, champion_rows = older.prepare(0), newer.prepare(0)
        registry = InMemoryRegistry(ManualClock(0.0))
        champion = register_version(build(champion_rows), champion_rows, "p", ports_of(registry))
        test = HoldoutTest(candidate, LOG_LOSS, 0.05, seed)
        verdicts.append(judge(find_rival(champion, Gates(), test, registry), build(candidate), test))
    return float(np.mean([each is Verdict.FAIL for each in verdicts]))


def gain_error(runs: int, drift: float, stands: str) -> float:
    """The mean of the gain at the gates less that of the refit over the champion on the next rows, in log loss.

    The champion is a refit of 5,000 rows, the candidate the same recipe 1,000 rows later. For it stands the version by
    which it was measured, or itself: then on the whole holdout, as if it had not learned most of it.
    """
    errors = []
    for seed in range(runs):
        table = logistic_rows(seed, ROWS + 2000, drift)
        then, now = (TrainingRows(SPEC, table.slice(0, count)) for count in (ROWS - 1000, ROWS))
        registry = InMemoryRegistry(ManualClock(0.0))
        champion, own = _register_refit(then, registry)
        candidate = now.prepare(0)
        test = HoldoutTest(candidate, LOG_LOSS, 0.05, seed, before_refit=True)
        baseline = find_rival(champion, Gates(), test, registry).baseline
        if stands == "champion":
            x = encode(candidate.holdout_rows, own[1].schema)
            baseline = Baseline("champion", own[0].model.predict(x))
        assert baseline is not None, "the measured version has not learned the holdout"
        prediction = build(candidate).model.predict(candidate.holdout.x)
        gain = compare_on_holdout(prediction, baseline, test).improvement.estimate
        refit, later = refit_of(now, candidate), table.slice(ROWS)
        errors.append(gain - (loss_on(*own, later) - loss_on(build(refit), refit, later)))
    return float(np.mean(errors))


def _register_refit(
    rows: TrainingRows, registry: InMemoryRegistry
) -> tuple[ModelVersion, tuple[BuiltModel, PreparedRows]]:
    """A champion that was trained again, after the version by which it was measured."""
    ports, measured = ports_of(registry), rows.prepare(0)
    version = register_version(build(measured), measured, "p", ports)
    refit = prepare_refit(rows, measured, "expanding", version.version)
    built = build(refit)
    return register_version(built, refit, "p", ports), (built, refit)


def _loss_case(name: str, stream: str, drift: float, effect: str) -> Case:
    measure = partial(loss_change, drift=drift, stream=effect)
    return Case(f"refit-{name}", "refit", stream, "% of next log loss", "<= 0", 8, measure, "0")


def _history_case(name: str, stream: str) -> Case:
    measure = partial(loss_change_on_history, name=name)
    return Case(f"refit-{name}", "refit", stream, "% of next log loss", "<= 0", 12, measure, "0")


def _overlap_case(effect: str, stream: str, before: str) -> Case:
    measure = partial(better_candidates_failed, stream=effect)
    return Case(
        f"overlap-better-{effect}", "champion gate", stream, "better ones failed", "<= .05", 10, measure, before
    )


def _equal_case(effect: str, stream: str, before: str) -> Case:
    measure = partial(equal_candidates_failed, stream=effect)
    return Case(f"overlap-equal-{effect}", "champion gate", stream, "equal ones failed", "<= .05", 12, measure, before)


def _gain_case(name: str, stream: str, drift: float, stands: str, before: str) -> Case:
    measure = partial(gain_error, drift=drift, stands=stands)
    return Case(f"rival-gain-{name}", "champion gate", stream, "error of the gain", "near 0", 6, measure, before)


CASES = [
    _loss_case("stationary", "independent rows", 0.0, "iid"),
    _loss_case("drift", "weights that walk", 1.5, "iid"),
    _loss_case("drift-cycle", "walk, hidden daily cycle", 1.5, "cycle"),
    _loss_case("drift-days", "walk, hidden day effects", 1.5, "days"),
    _history_case("stocks", "stocks, quarters"),
    *([_history_case("elec2", "elec2, 20 days")] if ELEC2 else []),
    _overlap_case("iid", "independent rows", "1"),
    _overlap_case("ar", "hidden AR .9", "1"),
    _overlap_case("cycle", "hidden daily cycle", "1"),
    _overlap_case("days", "hidden day effects", "1"),
    Case(
        "overlap-power",
        "champion gate",
        "independent rows",
        "better ones passed",
        "",
        10,
        partial(better_candidates_passed, stream="iid"),
        "0",
    ),
    _equal_case("iid", "independent rows", "1"),
    _equal_case("days", "hidden day effects", "1"),
    _equal_case("late", "labels of 4 days that overlap", ".73"),
    _gain_case("stationary", "independent rows", 0.0, "measured version", "-.048"),
    _gain_case("drift", "weights that walk", 1.5, "measured version", "-.095"),
    _gain_case("drift-champion", "walk, the champion itself", 1.5, "champion", "-.095"),
]
