"""The champion gate: false passes in a year of looks, power of filters and proofs, and the gain that is reported.

Paired differences of two models are simulated, with a standard deviation of .3 of the champion's mean loss, which is 1,
and a long-run variance of 1.3 times that of independent rows. Candidates of one line share a part of their difference
to the champion: the correlation. All worlds of a case are judged on one set of resamples, as the loop draws them.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from optagent.analysis.bootstrap import Resampling, bootstrap_intervals
from optagent.domain.gate import Criterion, GateResult, Gates, Verdict
from optagent.domain.ledger import HoldoutLook
from optagent.domain.measured_gain import judge_gain
from optagent.domain.study import Interval
from optagent.loop.gates.evaluate import gain_of, resampled_for
from optagent.loop.train.holdout import Comparison, HoldoutTest
from optagent.loop.train.holdout_looks import degrees_of_freedom, restrict_comparison
from optagent.sequential.holdout_ledger import share_of_look
from optagent.sequential.row_sample import sample_rows
from tests.performance.decisions.case import Case
from tests.simulation.streams import DAY_S, Series, autoregressive, daily_cycle, day_effects

ALPHA, SPREAD, MEMORY = 0.05, 0.3, 0.13  # AR(.13) has a long-run variance of 1.3
WEEKS, WEEK_S = 52, 7 * DAY_S
_BETTER = Gates()
_NOT_WORSE = Gates(beats_champion="not_worse", margin=0.01)


def differences(rng: np.random.Generator, worlds: int, rows: int, memory: float = MEMORY) -> Series:
    """(worlds, rows) noise of a paired difference."""
    return SPREAD * autoregressive(rng, worlds * rows, memory).reshape(worlds, rows)


def measure_intervals(gains: Series, alpha: float, times: Series | None = None) -> list[Interval]:
    """The paired interval of each world's mean, by the resamples that the loop draws for rows in the order of time.

    Rows that share one of the `times` (rows,) came together; without them each row has its own.
    """
    rows, worlds = gains.shape[1], _Worlds(gains)
    how = Resampling(seed=0, time_ordered=True, groups=np.arange(rows) if times is None else times)
    scores = [worlds.scores_of(place) for place in range(len(gains))]
    intervals = bootstrap_intervals(scores, np.zeros(rows), np.zeros(rows), alpha, how)
    assert all(isinstance(each, Interval) for each in intervals)
    return [each for each in intervals if isinstance(each, Interval)]


class _Worlds:
    """Means of all worlds on the same resamples, computed once for each portion of them."""

    def __init__(self, gains: Series) -> None:
        self._gains, self._counts, self._means = gains, np.empty(0), np.empty(0)

    def scores_of(self, place: int) -> tuple[Any, Any]:
        """The score of one world, and its scores on resamples."""
        mean = float(self._gains[place].mean())
        return lambda y, prediction: mean, lambda y, prediction: lambda counts: self._means_on(counts)[place]

    def _means_on(self, counts: Series) -> Series:
        if counts is not self._counts:
            self._counts, self._means = counts, self._gains @ counts.T / self._gains.shape[1]
        return self._means


def judge(interval: Interval, alpha: float, criterion: Criterion, rows: int, gates: Gates = _BETTER) -> GateResult:
    """The loop's verdict on a gain that was measured at the alpha for which the loop resamples."""
    metric: Any = SimpleNamespace(name="loss")
    test = HoldoutTest(_rows_of(rows), metric, alpha, 0, criterion=criterion)
    champion = Interval(1.0, 1.0, 1.0, ALPHA)
    comparison = Comparison(champion, "the champion", champion, interval, Verdict.INCONCLUSIVE, rows)
    return judge_gain("champion", gain_of(gates, comparison, test), gates, criterion)


@cache
def _rows_of(rows: int) -> Any:
    """As much of the prepared rows as a comparison reads: their number and their times."""
    return SimpleNamespace(holdout=range(rows), holdout_time=np.arange(rows, dtype=np.float64))


class Line:
    """The ledger of one model, and the verdicts of its looks."""

    def __init__(self) -> None:
        self.looks: list[HoldoutLook] = []

    def share(self, at: float, sample: str) -> HoldoutLook:
        """The next look, with its share of the risk."""
        look = HoldoutLook("holdout", "candidate", f"p{len(self.looks)}", at, ALPHA, model_id="m", sample=sample)
        return replace(look, number=len(self.looks) + 1, share=share_of_look(self.looks, look))

    def settle(self, look: HoldoutLook, verdict: Verdict) -> None:
        self.looks.append(replace(look, verdict=verdict))


def passes_of_year(
    runs: int, rows: int, slide: int, correlation: float, memory: float = MEMORY, gain_of_week: Sequence[float] = ()
) -> Series:
    """(runs, weeks) passes of proofs, one a week, on the newest `rows`, of which `slide` are new each week."""
    weeks = len(gain_of_week) or WEEKS
    rng = np.random.default_rng([7, rows, slide, int(100 * correlation)])
    common = differences(rng, runs, rows + slide * (weeks - 1), memory)
    lines, passes = [Line() for _ in range(runs)], np.zeros((runs, weeks))
    for week in range(weeks):
        start = slide * week
        own = differences(rng, runs, rows, memory)
        gains = np.sqrt(correlation) * common[:, start : start + rows] + np.sqrt(1 - correlation) * own
        if gain_of_week:
            gains = gains + gain_of_week[week]
        times = np.arange(start, start + rows, dtype=np.float64)
        sample = sample_rows(times % 2, times)
        looks = [line.share(week * WEEK_S, sample) for line in lines]
        intervals = measure_intervals(gains, resampled_for(Criterion.PROOF, ALPHA / 100))
        for place, (line, look, interval) in enumerate(zip(lines, looks, intervals, strict=True)):
            verdict = judge(interval, look.alpha_spent, Criterion.PROOF, rows).verdict
            line.settle(look, verdict)
            passes[place, week] = verdict is Verdict.PASS
    return passes


def false_years(runs: int, rows: int, slide: int, correlation: float, memory: float = MEMORY) -> float:
    """The share of years of weekly candidates, none better, in which one passes."""
    return float(passes_of_year(runs, rows, slide, correlation, memory).any(axis=1).mean())


def false_challengers(runs: int, searches: int = 40) -> float:
    """The share of lines of searches on the very same rows in which a model that is no better becomes challenger."""
    rng = np.random.default_rng(11)
    lines, wrong = [Line() for _ in range(runs)], np.zeros(runs, dtype=np.bool_)
    sample = sample_rows(np.arange(1_300) % 2.0, np.arange(1_300.0))
    fixed, freedom = Interval(1.0, 1.0, 1.0, ALPHA), degrees_of_freedom(_rows_of(1_300), 1_300)
    for number in range(searches):
        intervals = measure_intervals(differences(rng, runs, 1_300), ALPHA)
        for place, (line, interval) in enumerate(zip(lines, intervals, strict=True)):
            look = line.share(number * 3600.0, sample)
            comparison = Comparison(fixed, "the champion", fixed, interval, Verdict.INCONCLUSIVE, 1_300)
            verdict = restrict_comparison(comparison, 2 * look.alpha_spent, freedom).verdict
            line.settle(look, verdict)
            wrong[place] |= verdict is Verdict.PASS
    return float(wrong.mean())


def late_power(runs: int, rows: int, slide: int, gain: float) -> float:
    """The power of the tenth look as a share of that of the first, after nine candidates that were equal."""
    first = passes_of_year(runs, rows, slide, 0.5, MEMORY, [gain])[:, 0].mean()
    tenth = passes_of_year(runs, rows, slide, 0.5, MEMORY, [*9 * [0.0], gain])[:, 9].mean()
    return float(tenth / first)


def power(runs: int, criterion: Criterion, rows: int, gain: float, memory: float = MEMORY) -> float:
    """The share of candidates that pass at their first look."""
    return _share_passed(_first_looks(runs, criterion, rows, gain, memory))


@cache
def _first_looks(
    runs: int, criterion: Criterion, rows: int, gain: float, memory: float = MEMORY
) -> tuple[GateResult, ...]:
    rng = np.random.default_rng([13, rows])
    return _judge_first(gain + differences(rng, runs, rows, memory), criterion)


def _judge_first(gains: Series, criterion: Criterion, times: Series | None = None) -> tuple[GateResult, ...]:
    """The verdict on each world's candidate, the first of its line."""
    alpha = ALPHA if criterion is Criterion.FILTER else Line().share(0.0, "").alpha_spent
    intervals = measure_intervals(gains, resampled_for(criterion, alpha), times)
    return tuple(judge(interval, alpha, criterion, gains.shape[1]) for interval in intervals)


def _share_passed(results: Sequence[GateResult]) -> float:
    return float(np.mean([result.verdict is Verdict.PASS for result in results]))


def false_proofs(runs: int, world: str, rows: int = 1_300, share: float = 0.1) -> float:
    """The share of equal candidates that pass the proof where rows go together.

    A `share` of the variance is common to the rows of a request of 30 (`bursts`), of a day of 100 rows (`days`), or is
    that of a cycle of days (`cycle`).
    """
    rng = np.random.default_rng([19, rows])
    times = np.arange(rows) * (DAY_S / 100)
    if world == "bursts":
        times = np.repeat(times[::30], 30)[:rows]
    common = {
        "bursts": lambda: rng.standard_normal(rows // 30 + 1).repeat(30)[:rows],
        "days": lambda: day_effects(rng, times),
        "cycle": lambda: daily_cycle(times),
    }[world]
    own = differences(rng, runs, rows)
    gains = np.sqrt(1 - share) * own + np.sqrt(share) * SPREAD * np.array([common() for _ in range(runs)])
    return _share_passed(_judge_first(gains, Criterion.PROOF, times))


def slide(runs: int, with_anchor: bool, weeks: int = 26) -> float:
    """The mean loss in percent after half a year of weekly candidates, each worse than its champion by half a percent.

    A margin of 1 % is allowed, and the gate filters. `with_anchor` compares with the best champion so far, too.
    """
    rng, rows = np.random.default_rng(17), 1_300
    champion, anchor = np.zeros(runs), np.zeros(runs)
    for _ in range(weeks):
        candidate = champion - 0.005
        noise = [differences(rng, runs, rows) / np.sqrt(2) for _ in range(3)]
        scores = [level[:, None] + each for level, each in zip((candidate, champion, anchor), noise, strict=True)]
        is_better = np.array([each.low > 0 for each in measure_intervals(scores[1] - scores[2], 2 * ALPHA)])
        anchor = np.where(is_better, champion, anchor)
        goes_on = _not_worse(scores[0] - scores[1])
        if with_anchor:
            goes_on &= (anchor == champion) | _not_worse(scores[0] - scores[2])
        champion = np.where(goes_on, candidate, champion)
    return float(-100 * champion.mean())


def _not_worse(gains: Series) -> npt.NDArray[np.bool_]:
    intervals = measure_intervals(gains, resampled_for(Criterion.FILTER, ALPHA))
    results = [judge(each, ALPHA, Criterion.FILTER, gains.shape[1], _NOT_WORSE) for each in intervals]
    return np.array([each.verdict is Verdict.PASS for each in results])


def reported_gain(runs: int, criterion: Criterion, gain: float, corrected: bool) -> float:
    """The median of the gains in percent that are reported after a pass at 1,300 rows."""
    results = [each for each in _first_looks(runs, criterion, 1_300, gain) if each.verdict is Verdict.PASS]
    return float(np.median([each.evidence["corrected"] if corrected else each.measured for each in results]) * 100)


def _year_case(rows: int, slide: int, correlation: float, runs: int, before: str) -> Case:
    return Case(
        f"gate-year-{rows}-by-{slide}-{correlation:g}",
        "champion gate",
        f"weekly equals, correlation {correlation:g}",
        f"years with a pass, {rows:,} rows",
        "<= .05",
        runs,
        partial(false_years, rows=rows, slide=slide, correlation=correlation),
        before,
    )


def _power_case(criterion: Criterion, rows: int, gain: float, before: str = "") -> Case:
    asked = {(Criterion.FILTER, 0.0): ".20", (Criterion.PROOF, 0.0): ".005"}.get((criterion, gain), "")
    return Case(
        f"gate-{criterion}-{rows}-{100 * gain:.0f}",
        "champion gate",
        f"candidate better by {100 * gain:.0f} %",
        f"{criterion} passed, {rows:,} rows",
        asked,
        1_000,
        partial(power, criterion=criterion, rows=rows, gain=gain),
        before,
    )


_BEFORE = {
    500: {0.0: ".015", 0.01: ".07", 0.02: ".20", 0.03: ".42", 0.05: ".87"},
    1_000: {0.0: ".015", 0.01: ".11", 0.02: ".38", 0.03: ".73", 0.05: ".99"},
    1_300: {0.0: ".015", 0.01: ".13", 0.02: ".48", 0.03: ".84", 0.05: "1.0"},
    2_000: {0.0: ".015", 0.01: ".20", 0.02: ".67", 0.03: ".96", 0.05: "1.0"},
}

CASES = [
    *(_year_case(1_300, 35, each, 200, before) for each, before in ((0.0, ".54"), (0.5, ".33"), (0.9, ".15"))),
    *(_year_case(4_000, 700, each, 40, before) for each, before in ((0.0, ".55"), (0.5, ".50"), (0.9, ".40"))),
    Case(
        "gate-forty-searches",
        "champion gate",
        "40 searches on the same rows",
        "lines with a false challenger",
        "<= .05",
        400,
        false_challengers,
        ".64",
    ),
    *(
        Case(
            f"gate-tenth-look-{'sliding' if slide else 'same'}-{100 * gain:.0f}",
            "champion gate",
            f"candidate better by {100 * gain:.0f} %",
            f"power at look 10 / 1, {'35' if slide else 'no'} new rows",
            ">= .5",
            1_000,
            partial(late_power, rows=1_300, slide=slide, gain=gain),
            before,
        )
        for slide, gain, before in ((35, 0.02, ""), (0, 0.02, ".14"), (0, 0.03, ".38"))
    ),
    Case(
        "gate-slide-with-anchor",
        "anchor",
        "26 candidates, each worse by .5 %",
        "loss in % after half a year",
        "<= 1.5",
        200,
        partial(slide, with_anchor=True),
        "4.8 without",
    ),
    *(
        _power_case(criterion, rows, gain, before)
        for criterion in (Criterion.FILTER, Criterion.PROOF)
        for rows, befores in _BEFORE.items()
        for gain, before in befores.items()
    ),
    *(
        Case(
            f"gate-proof-memory-{memory:g}",
            "champion gate",
            f"AR({memory:g}), equal candidate",
            "proof passed, 1,300 rows",
            ".005",
            2_000,
            partial(power, criterion=Criterion.PROOF, rows=1_300, gain=0.0, memory=memory),
        )
        for memory in (0.0, 0.6, 0.9)
    ),
    *(
        Case(
            f"gate-proof-{world}",
            "champion gate",
            f"{title}, equal candidate",
            "proof passed, 1,300 rows",
            ".005",
            2_000,
            partial(false_proofs, world=world),
        )
        for world, title in (
            ("bursts", "requests of 30 rows, a tenth of the variance theirs"),
            ("days", "effects of days, a tenth of the variance"),
            ("cycle", "a daily cycle, a tenth of the variance"),
        )
    ),
    *(
        Case(
            f"gate-reported-{criterion}-{100 * gain:.0f}",
            "reported gain",
            f"candidate better by {100 * gain:.0f} %",
            "median % after a pass",
            f"{100 * gain:.0f}",
            4_000,
            partial(reported_gain, criterion=criterion, gain=gain, corrected=True),
            before,
        )
        for criterion, gain, before in (
            (Criterion.PROOF, 0.01, "2.6"),
            (Criterion.PROOF, 0.02, "2.8"),
            (Criterion.FILTER, 0.01, "1.5"),
            (Criterion.FILTER, 0.02, "2.1"),
        )
    ),
]
