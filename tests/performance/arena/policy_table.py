"""Table of the policies of the arena: what became of their candidates, and their gain over never training again."""

from collections.abc import Mapping, Sequence

import numpy as np

from optagent.backtest.compare import PolicyPredictions, standings_of
from optagent.backtest.simulate import period_length
from optagent.domain.backtest import NEVER
from optagent.domain.duration import seconds
from optagent.domain.policy_run import PolicyRun
from optagent.errors import InvalidData
from optagent.training.metrics import METRICS
from tests.performance.arena.entrant import Outcome
from tests.performance.arena.policies import ask_of
from tests.performance.arena.stream import Stream

_COUNTS = ("retrains", "passed", "promoted", "under_way")
_HEAD = (
    "| policy | AUC against never | candidates | passed | promoted | under way | days to promotion |\n"
    "|---|---|---|---|---|---|---|"
)


def policy_table_of(by_name: Mapping[str, Sequence[Outcome]], never: Outcome, stream: Stream) -> str:
    """A row a policy; intervals are of block resamples and, where there are several, of seeds, and hold together."""
    gains = _gains_of(by_name, never, stream)
    return "\n".join([_HEAD, *(_row_of(name, runs, gains[name]) for name, runs in by_name.items())])


def _gains_of(by_name: Mapping[str, Sequence[Outcome]], never: Outcome, stream: Stream) -> dict[str, str]:
    answered = slice(stream.start, None)
    y, number = stream.y[answered], stream.number[answered]
    seeds = len(next(iter(by_name.values())))
    paths = [
        PolicyPredictions(
            y,
            number.astype(np.float64),
            {NEVER: never.answers, **{name: outcomes[seed].answers for name, outcomes in by_name.items()}},
        )
        for seed in range(seeds)
    ]
    blocks = round(period_length(stream.history.spec, ask_of(stream)) / seconds(stream.block))
    try:
        standings = standings_of(paths, METRICS["auc"], (number - stream.first) // blocks)
    except InvalidData as error:
        return dict.fromkeys(by_name, str(error))
    gains = {each.name: each.against_never for each in standings}
    return {name: f"{each.estimate:+.4f} ({each.low:+.4f} to {each.high:+.4f})" for name, each in gains.items()}


def _row_of(name: str, outcomes: Sequence[Outcome], gain: str) -> str:
    counts = [run.counted for run in _runs_of(outcomes)]
    days = [each.days_to_promotion for each in counts if each.days_to_promotion is not None]
    columns = [least_and_most([getattr(each, count) for each in counts]) for count in _COUNTS]
    return "| " + " | ".join([name, gain, *columns, f"{np.median(days):.3g}" if days else ""]) + " |"


def _runs_of(outcomes: Sequence[Outcome]) -> list[PolicyRun]:
    return [each.run for each in outcomes if each.run is not None]


def least_and_most(counts: Sequence[int]) -> str:
    """
    >>> least_and_most([2, 2]), least_and_most([4, 3])
    ('2', '3-4')
    """
    return f"{min(counts)}" if len(set(counts)) == 1 else f"{min(counts)}-{max(counts)}"
