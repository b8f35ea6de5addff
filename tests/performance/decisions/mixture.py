"""Mixture regret on adversarial streams: the product's own passes, scorer and guard, with labels at once and late.

Each row is the worst of all runs, as a part of what may be lost: 1 would be the bound itself. Nobody has to believe in
a stream here; the bounds hold on any sequence, and these are the sequences that hurt most.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optagent.domain.mixture import MixtureRecord
from optagent.domain.model import Task
from optagent.loop.mixture.answered_rows import MixtureRows
from optagent.loop.mixture.learn import learn_rows
from optagent.mixing.learner import MixtureLearner
from optagent.mixing.scorer import MixtureScorer
from optagent.serving.mixture_record import SEPARATOR
from tests.performance.decisions.case import Case
from tests.simulation.streams import autoregressive, label_delays

Array = npt.NDArray[np.float64]
Answer = Callable[[Array], Array]

SLOTS = ("champion", "all", "1/4", "1/16")
DELAY = 40
"""Rows until a late label comes; passes are taken every quarter of it."""

_SURE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The scores of the slots (rows, slots), the outcomes (rows,), and the rows after which each label comes (rows,).

    An outcome that is NaN is chosen once the row has been answered, against the answer.
    """

    scores: Array
    y: Array
    delay: Array


@dataclass(frozen=True, slots=True)
class MixtureRun:
    """The most nats by which the answers were behind each slot at any row, the bound, and the most rows that waited."""

    behind: tuple[float, ...]
    bound: float
    most_open: int

    @property
    def slot_ratio(self) -> float:
        """The worst regret against any slot, as a part of the bound with labels at once."""
        return max(self.behind) / self.bound

    @property
    def champion_ratio(self) -> float:
        """The worst regret against the champion, as a part of the bound with late labels."""
        return self.behind[0] / ((self.most_open + 1) * self.bound)


def run_mixture(stream: Stream, step: int, is_guarded: bool = True) -> MixtureRun:
    """The worst regrets of a mixture that answers a stream, with a pass after every `step` rows.

    Without the guard its weights answer as they would without late labels.
    """
    learner = MixtureLearner(Task.BINARY, SLOTS)
    count, width = len(stream.y), len(learner.form.rates) + len(SLOTS) + 1 + len(learner.top)
    rows = _empty_rows(count, width)
    is_learned = np.zeros(count, dtype=np.bool_)
    y, due = stream.y.copy(), np.arange(count) + stream.delay
    record = learn_rows(
        MixtureRecord("m", 0.0, learner.to_plain()), _select(rows, y, due, is_learned, 0), "1", 0.0
    ).record
    for start in range(0, count, step):
        block = slice(start, min(start + step, count))
        weights = record.published
        assert weights is not None
        scorer = MixtureScorer(weights if is_guarded else replace(weights, guard=0.0))
        answer = scorer.mix(stream.scores[block, :, None])
        rows.said[block], rows.scores[block] = answer.said, answer.scores[:, None]
        contrary = np.where(answer.scores < 0.5, 1.0, 0.0)
        y[block] = np.where(np.isnan(y[block]), contrary, y[block])
        answered = _select(rows, y, due, is_learned, block.stop)
        is_learned[: block.stop] |= due[: block.stop] <= block.stop - 1
        record = learn_rows(record, answered, "1", float(block.stop)).record
    return _sum_up(record, stream.scores, rows.scores[:, 0], y)


def _empty_rows(count: int, width: int) -> MixtureRows:
    ids = pa.array([f"{number:07d}" for number in range(count)], pa.large_string())
    said = np.full((count, width, 1), np.nan)
    layout = [SEPARATOR.join(SLOTS)] * count
    times = np.arange(count) * 1_000_000
    return MixtureRows(
        ids, times, layout, said, np.full(count, width), np.full((count, 1), 0.5), np.full(count, np.nan)
    )


def _select(rows: MixtureRows, y: Array, due: Array, is_learned: npt.NDArray[np.bool_], end: int) -> MixtureRows:
    """The rows before `end` that are not learned, with the labels that have come by then."""
    known = np.where(due <= end - 1, y, np.nan)
    return replace(rows, y=known).where(~is_learned & (np.arange(len(y)) < end))


def _sum_up(record: MixtureRecord, scores: Array, answers: Array, y: Array) -> MixtureRun:
    learner = MixtureLearner.from_plain(record.state)
    bounded = learner.form.bound(np.column_stack([answers, scores]))
    losses = -np.log(np.where(y[:, None] == 1, bounded, 1 - bounded))
    behind = np.cumsum(losses[:, :1] - losses[:, 1:], axis=0).max(axis=0)
    return MixtureRun(tuple(behind.tolist()), learner.bound, record.most_open)


def _opposed(rng: np.random.Generator, count: int) -> Array:
    """A champion that says nothing, two slots that contradict each other, and one that guesses."""
    guesses = np.where(rng.random(count) < 0.5, _SURE, 1 - _SURE)
    return np.column_stack([np.full(count, 0.5), np.full(count, _SURE), np.full(count, 1 - _SURE), guesses])


def alternating(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Outcomes that alternate, from a random one on."""
    return _opposed(rng, count), ((np.arange(count) + rng.integers(2)) % 2).astype(np.float64)


def stretches(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Outcomes that alternate in stretches of twice the delay, so that weights are those of the stretch before."""
    return _opposed(rng, count), (((np.arange(count) + rng.integers(DELAY)) // (2 * DELAY)) % 2).astype(np.float64)


def contrary(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Outcomes that are the opposite of each answer."""
    return _opposed(rng, count), np.full(count, np.nan)


def noise(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Outcomes and slots that know nothing."""
    scores = 1 / (1 + np.exp(-rng.normal(0, 2, (count, len(SLOTS)))))
    return scores, (rng.random(count) < 0.5).astype(np.float64)


def remembering(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Odds of memory .9, of which slots know the past: the row before, five and fifty before, and nothing."""
    odds = 2 * autoregressive(rng, count + 50, 0.9)
    y = (rng.random(count) < 1 / (1 + np.exp(-odds[50:]))).astype(np.float64)
    told = np.column_stack([np.zeros(count), odds[49:-1], odds[45:-5], odds[:-50]])
    return 1 / (1 + np.exp(-told)), y


def recalibrated(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """A champion that is too sure by a random factor and stands in every slot, before any training."""
    odds = rng.normal(0, 1, count)
    told = odds * rng.uniform(0.5, 3.0) + rng.normal(0, 0.5)
    y = (rng.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    return np.repeat((1 / (1 + np.exp(-told)))[:, None], len(SLOTS), axis=1), y


STREAMS = {
    "alternating": alternating,
    "stretches": stretches,
    "contrary": contrary,
    "noise": noise,
    "ar": remembering,
    "recalibration": recalibrated,
}


def stream_of(name: str, seed: int, rows: int, late: str = "") -> Stream:
    """A stream by its name; its labels are `late` by the delay, or by the outcome: class 1 takes four times as long."""
    rng = np.random.default_rng([seed, len(name)])
    scores, y = STREAMS[name](rng, rows)
    delay = np.full(rows, DELAY if late == "fixed" else 0)
    if late == "outcome":
        outcome = np.where(np.isnan(y), rng.random(rows) - 0.5, y - 0.5)
        delay = np.ceil(label_delays(rng, outcome, DELAY / 4, slower=4.0)).astype(np.int64)
    return Stream(scores, y, delay)


def worst_once(runs: int, name: str, rows: int = 200) -> float:
    """The worst regret against any slot with labels at once, as a part of the bound."""
    return max(run_mixture(stream_of(name, seed, rows), 1).slot_ratio for seed in range(runs))


def worst_late(runs: int, name: str, late: str = "fixed", rows: int = 600, is_guarded: bool = True) -> float:
    """The worst regret against the champion with late labels, as a part of (D + 1) times the bound."""
    return max(
        run_mixture(stream_of(name, seed, rows, late), DELAY // 4, is_guarded).champion_ratio for seed in range(runs)
    )


def worst_late_slot(runs: int, name: str, late: str = "fixed", rows: int = 600) -> float:
    """The worst regret against any slot with late labels, as a part of (D + 1) times the bound."""
    outcomes = (run_mixture(stream_of(name, seed, rows, late), DELAY // 4) for seed in range(runs))
    return max(run.slot_ratio / (run.most_open + 1) for run in outcomes)


def _late_cases(name: str, late: str) -> list[Case]:
    stream = f"{name}, labels {'a delay late' if late == 'fixed' else 'of class 1 later'}"
    champion, slot = partial(worst_late, name=name, late=late), partial(worst_late_slot, name=name, late=late)
    return [
        Case(f"mixture-{name}-{late}", "mixture", stream, "behind champion / (D+1) bound", "<= 1", 200, champion),
        Case(f"mixture-{name}-{late}-slot", "mixture", stream, "behind any slot / (D+1) bound", "", 50, slot),
    ]


CASES = [
    *(
        Case(
            f"mixture-{name}-once",
            "mixture",
            name,
            "behind any slot / bound",
            "<= 1",
            200,
            partial(worst_once, name=name),
        )
        for name in STREAMS
    ),
    *(case for name in STREAMS for late in ("fixed", "outcome") for case in _late_cases(name, late)),
    Case(
        "mixture-stretches-unguarded",
        "mixture",
        "stretches, without the guard",
        "behind champion / (D+1) bound",
        "> 1: why it is there",
        20,
        partial(worst_late, name="stretches", is_guarded=False),
    ),
]
