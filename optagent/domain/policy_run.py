"""Policy run: one retraining policy on a model's history, its optimizations and their rollouts, and its cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

from optagent.domain.gate import Verdict
from optagent.domain.policy import RetrainingPolicy
from optagent.domain.rollout_look import RolloutState
from optagent.domain.trading_result import TradingResult

LEAST_ROWS = 50
"""A period with fewer labelled rows is not judged; a monitor needs as many."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Period:
    """The labelled rows of a stretch of time (POSIX seconds), their score, and the version that answered the last one.

    `metric` is None where it is not defined, such as the AUC of one class.
    """

    start: float
    end: float
    rows: int
    version: str
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """One optimization of a replay: its time, its cause and its result. `said` is why there is no new champion.

    `version` is the one that competed in the rollout, else the one that was judged. `rollout` is the state of its
    rollout when the replay ended, None without one, and `promoted_at` the time at which it took the champion's place;
    both are None in results of older versions, which promoted at the gate. `slots` are those of a mixture that it
    renewed, with their new versions.
    """

    at: float
    trigger: str
    reason: str
    status: str
    verdict: str | None = None
    version: str | None = None
    promoted: bool = False
    window: str | None = None
    trials: int = 0
    compute_s: float = 0.0
    said: str | None = None
    rollout: str | None = None
    promoted_at: float | None = None
    slots: Mapping[str, str] = field(default_factory=dict)

    @property
    def trainings(self) -> int:
        """The number of models that it trained for the gates."""
        return len(self.slots) or int(self.version is not None)

    @property
    def is_under_way(self) -> bool:
        """True where its rollout had not ended when the replay did."""
        return self.rollout is not None and RolloutState(self.rollout).is_active


@dataclass(frozen=True, slots=True)
class RunCounts:
    """Counts of a policy's runs and misses, and its cost.

    `retrains` are the runs in which a model was trained, `passed` those of them whose candidate passed its gates (None
    in results of older versions), `rejected` those whose candidate did not. Of what passed, `promoted` became champion,
    `under_way` had not ended its rollout, `inconclusive` proved nothing in time, and `rolled_back` did harm.
    `days_to_promotion` is the median from gate to champion. In one of the `bad_periods` the metric was below the
    reference by more than the model's accuracy_drop_threshold; it is `missed` where no run was started in it or within
    the cool-down after it. `compute_s` is the processor time of the runs.
    """

    optimizations: int = 0
    retrains: int = 0
    promoted: int = 0
    rejected: int = 0
    missed: int = 0
    bad_periods: int = 0
    trials: int = 0
    compute_s: float = 0.0
    passed: int | None = None
    under_way: int = 0
    inconclusive: int = 0
    rolled_back: int = 0
    days_to_promotion: float | None = None


@dataclass(frozen=True, slots=True)
class ReplayedPath:
    """A policy's run with one seed: its metric and its counts."""

    seed: int
    metric: float | None
    counted: RunCounts


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """One policy's run over the history.

    `metric` is that of all its answers together (prequential). `business` has the mean per labelled row of each metric
    that the model declares, None where no row has the columns that it needs; `trading` is None for a model without a
    rule. Where several seeds were replayed, `paths` has the run of each, `metric` is their mean, and everything else is
    that of the first.
    """

    name: str
    policy: RetrainingPolicy | None
    ungated: bool
    metric: float | None
    reference: float
    periods: tuple[Period, ...]
    runs: tuple[ReplayedRun, ...]
    counted: RunCounts
    notes: tuple[str, ...] = ()
    business: Mapping[str, float | None] = field(default_factory=dict)
    oracle: bool = False
    paths: tuple[ReplayedPath, ...] = ()
    trading: TradingResult | None = None

    @property
    def counts_by_seed(self) -> tuple[RunCounts, ...]:
        """The counts of each seed's run."""
        return tuple(path.counted for path in self.paths) or (self.counted,)


def count_runs(
    runs: Iterable[ReplayedRun],
    periods: Iterable[Period],
    reference: float,
    maximize: bool,
    threshold: float,
    cooldown_s: float,
    least_rows: int = LEAST_ROWS,
) -> RunCounts:
    """The counts of a policy's runs and periods.

    `threshold` is in the unit of the metric. Periods of fewer than `least_rows` labelled rows are not judged.
    """
    all_runs = list(runs)
    sign = 1.0 if maximize else -1.0
    scores = [(each, each.metric) for each in periods if each.metric is not None and each.rows >= least_rows]
    bad = [each for each, metric in scores if sign * (reference - metric) > threshold]
    missed = [each for each in bad if not any(each.start <= run.at <= each.end + cooldown_s for run in all_runs)]
    trained = [run for run in all_runs if run.version is not None]
    passed = [run for run in trained if run.verdict == Verdict.PASS]
    took_days = [(run.promoted_at - run.at) / _DAY_S for run in trained if run.promoted_at is not None]
    return RunCounts(
        optimizations=len(all_runs),
        retrains=len(trained),
        promoted=sum(run.promoted for run in all_runs),
        rejected=sum(run.verdict != Verdict.PASS and not run.promoted for run in trained),
        missed=len(missed),
        bad_periods=len(bad),
        trials=sum(run.trials for run in all_runs),
        compute_s=sum(run.compute_s for run in all_runs),
        passed=len(passed),
        under_way=sum(run.is_under_way for run in trained),
        inconclusive=sum(run.rollout == RolloutState.INCONCLUSIVE for run in trained),
        rolled_back=sum(run.rollout == RolloutState.ROLLED_BACK for run in trained),
        days_to_promotion=median(took_days) if took_days else None,
    )
