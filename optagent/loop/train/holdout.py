"""Validate: score a candidate on rows that no trial saw, beside a baseline on the very same resamples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optagent.analysis.bootstrap import Resampling, bootstrap_interval, paired_interval
from optagent.arrays import Prediction
from optagent.domain.gate import Verdict
from optagent.domain.model import CHAMPION, ModelVersion
from optagent.domain.study import Interval
from optagent.errors import CorruptBundle, InvalidData, ModelNotFound
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Registry
from optagent.training.encoding import encode
from optagent.training.metrics import Metric


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a candidate is compared with: its name and its prediction on the holdout."""

    name: str
    prediction: Prediction


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores on the same holdout rows; `improvement` is positive where the candidate is better."""

    candidate: Interval
    baseline_name: str
    baseline: Interval
    improvement: Interval
    verdict: Verdict

    def scores(self, metric: str) -> dict[str, float]:
        """What a version is registered with."""
        return {
            f"holdout_{metric}": self.candidate.estimate,
            f"baseline_{metric}": self.baseline.estimate,
            "improvement": self.improvement.estimate,
        }

    def answer(self, version: ModelVersion) -> dict[str, Any]:
        """What an answer says of it and of the version that was registered because of it, by field."""
        return {
            "holdout": self.candidate,
            "baseline_name": self.baseline_name,
            "baseline_holdout": self.baseline,
            "improvement": self.improvement,
            "verdict": str(self.verdict),
            "version": version.version,
            "aliases": version.aliases,
        }


def judge(improvement: Interval) -> Verdict:
    """Better only when the whole interval is; worse only when the whole interval is.

    >>> judge(Interval(0.01, -0.002, 0.03, 0.05))
    <Verdict.INCONCLUSIVE: 'inconclusive'>
    """
    if improvement.low > 0:
        return Verdict.PASS
    if improvement.high < 0:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def compare(
    candidate: Prediction, baseline: Baseline, prepared: PreparedRows, metric: Metric, alpha: float, seed: int
) -> Comparison:
    """Percentile intervals from one set of resamples; blocks of neighbours where rows are ordered in time."""
    y, time = prepared.holdout.y, prepared.holdout_time
    how = Resampling(seed=seed, time_ordered=time is not None, groups=time)

    def alone(prediction: Prediction) -> Interval:
        return bootstrap_interval(metric.score, y, prediction, alpha, how, metric.resampled)

    improvement = paired_interval(
        metric.score, metric.maximize, y, candidate, baseline.prediction, alpha, how, metric.resampled
    )
    return Comparison(alone(candidate), baseline.name, alone(baseline.prediction), improvement, judge(improvement))


def champion_on_holdout(prepared: PreparedRows, registry: Registry) -> tuple[Baseline | None, str | None]:
    """The champion's prediction on the holdout, or None with the reason why there is none to compare with."""
    try:
        version = registry.version(prepared.spec.model_id, CHAMPION)
    except ModelNotFound:
        return None, None
    return version_on_holdout(version, prepared, registry)


def version_on_holdout(
    version: ModelVersion, prepared: PreparedRows, registry: Registry
) -> tuple[Baseline | None, str | None]:
    """What a version that is, or was, champion predicts on the holdout, or None with the reason why it cannot."""
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
