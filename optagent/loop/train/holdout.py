"""Holdout test: scores a candidate on rows that no trial saw, beside a baseline on the very same resamples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optagent.analysis.bootstrap import Resampling, bootstrap_interval, paired_interval
from optagent.arrays import Prediction
from optagent.domain.gate import Verdict
from optagent.domain.model import ModelVersion
from optagent.domain.study import Interval
from optagent.errors import CorruptBundle, InvalidData
from optagent.loop.champion import champion_of
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Registry
from optagent.training.encoding import encode
from optagent.training.metrics import Metric


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model that candidates are compared with: its name and its prediction on the holdout."""

    name: str
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class HoldoutTest:
    """Settings of a comparison on the holdout of `prepared`: intervals of `metric` at confidence `1 - alpha`."""

    prepared: PreparedRows
    metric: Metric
    alpha: float
    seed: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores on the same holdout rows; `improvement` is positive where the candidate is better."""

    candidate: Interval
    baseline_name: str
    baseline: Interval
    improvement: Interval
    verdict: Verdict

    def scores(self, metric: str) -> dict[str, float]:
        """The metrics that a version is registered with."""
        return {
            f"holdout_{metric}": self.candidate.estimate,
            f"baseline_{metric}": self.baseline.estimate,
            "improvement": self.improvement.estimate,
        }

    def answer(self, version: ModelVersion) -> dict[str, Any]:
        """The fields of a result that hold the comparison and the version that was registered after it."""
        return {
            "holdout": self.candidate,
            "baseline_name": self.baseline_name,
            "baseline_holdout": self.baseline,
            "improvement": self.improvement,
            "verdict": str(self.verdict),
            "version": version.version,
            "aliases": version.aliases,
        }


def verdict_of_interval(improvement: Interval) -> Verdict:
    """PASS where the whole interval is above 0, FAIL where it is below 0, otherwise INCONCLUSIVE.

    >>> verdict_of_interval(Interval(0.01, -0.002, 0.03, 0.05))
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    if improvement.low > 0:
        return Verdict.PASS
    if improvement.high < 0:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def compare_on_holdout(candidate: Prediction, baseline: Baseline, test: HoldoutTest) -> Comparison:
    """Percentile intervals from one set of resamples; blocks of neighbours where rows are ordered in time."""
    y, time, metric = test.prepared.holdout.y, test.prepared.holdout_time, test.metric
    resampling = Resampling(seed=test.seed, time_ordered=time is not None, groups=time)

    def score_interval(prediction: Prediction) -> Interval:
        return bootstrap_interval(metric.score, y, prediction, test.alpha, resampling, metric.resampled)

    improvement = paired_interval(
        metric.score,
        metric.maximize,
        y,
        candidate,
        baseline.prediction,
        test.alpha,
        resampling,
        metric.resampled,
    )
    verdict = verdict_of_interval(improvement)
    return Comparison(
        score_interval(candidate), baseline.name, score_interval(baseline.prediction), improvement, verdict
    )


def champion_on_holdout(prepared: PreparedRows, registry: Registry) -> tuple[Baseline | None, str | None]:
    """The champion's prediction on the holdout, or None with the reason why there is none to compare with."""
    champion = champion_of(prepared.spec.model_id, registry)
    return (None, None) if champion is None else version_on_holdout(champion, prepared, registry)


def version_on_holdout(
    version: ModelVersion, prepared: PreparedRows, registry: Registry
) -> tuple[Baseline | None, str | None]:
    """The prediction of a present or former champion on the holdout, or None with the reason why it has none."""
    try:
        champion = load_version(version, registry)
        if tuple(champion.schema.classes) != tuple(prepared.schema.classes):
            return None, f"champion version {version.version} knows other classes; compared with defaults instead"
        prediction = champion.scores(encode(prepared.holdout_rows, champion.schema))
    except (CorruptBundle, InvalidData) as error:
        return None, f"champion version {version.version} cannot score these rows ({error}); compared with defaults"
    return Baseline(f"champion (version {version.version})", prediction), None


def baseline_for(
    prepared: PreparedRows, registry: Registry, defaults: Callable[[], Prediction]
) -> tuple[Baseline, str | None]:
    """The champion where there is one that can score these rows, otherwise the default parameters."""
    champion, note = champion_on_holdout(prepared, registry)
    return champion or Baseline("default parameters", defaults()), note
