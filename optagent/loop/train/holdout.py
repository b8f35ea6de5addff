"""Holdout test: scores a candidate on rows that no trial saw, beside a baseline on the very same resamples."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optagent.analysis.bootstrap import RULES, Resampling, bootstrap_interval, paired_interval
from optagent.arrays import Prediction, Rows
from optagent.domain.gate import Criterion, Verdict
from optagent.domain.model import ModelVersion
from optagent.domain.study import Interval
from optagent.errors import CorruptBundle, InvalidData
from optagent.loop.champion import champion_of
from optagent.loop.train.load import load_version
from optagent.loop.train.prepare import PreparedRows
from optagent.ports import Registry
from optagent.training.encoding import encode
from optagent.training.folds import MIN_HOLDOUT_ROWS
from optagent.training.manifest import Manifest
from optagent.training.metrics import Metric
from optagent.training.validation_blocks import constant_answer
from optagent.training.version_warnings import CONSTANT


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model that candidates are compared with: its name and its prediction on the holdout.

    `rows` are those of the holdout that neither it nor the candidate has learned, None for all of them. `anchor` is the
    best champion so far, where candidates of a champion must keep up with that one too; `why_no_anchor` is the reason
    where it cannot be compared.
    """

    name: str
    prediction: Prediction
    rows: Rows | None = None
    anchor: "Baseline | None" = None
    why_no_anchor: str = ""


@dataclass(frozen=True, slots=True)
class HoldoutTest:
    """Settings of a comparison on the holdout of `prepared`: intervals of `metric` at confidence `1 - alpha`.

    With `before_refit`, the candidate is trained again before it competes, and a champion that was trained again itself
    is represented by the version by which its recipe was judged. Gates judge the improvement by `criterion`. `rules`
    are those of the resampling, see `analysis.bootstrap.RULES`.
    """

    prepared: PreparedRows
    metric: Metric
    alpha: float
    seed: int
    before_refit: bool = False
    criterion: Criterion = Criterion.PROOF
    rules: int = RULES

    @property
    def resampling(self) -> Resampling:
        """Resamples of the holdout: rows of one time together, in blocks of neighbours in time, or whole entities."""
        return self.resampling_of(None)

    def resampling_of(self, rows: Rows | None) -> Resampling:
        """Resamples of these rows of the holdout, None for all."""
        time, entity = self.prepared.holdout_time, self.prepared.holdout_entity
        groups = entity if time is None else time
        groups = groups if groups is None or rows is None else groups[rows]
        return Resampling(seed=self.seed, time_ordered=time is not None, groups=groups, rules=self.rules)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores on the same `rows` holdout rows; `improvement` is positive where the candidate is better.

    `corrected` is the improvement without the luck of having passed, None where it did not pass.
    """

    candidate: Interval
    baseline_name: str
    baseline: Interval
    improvement: Interval
    verdict: Verdict
    rows: int
    corrected: float | None = None

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
            "corrected_improvement": self.corrected,
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
    """Percentile intervals from one set of resamples; blocks of neighbours where rows are ordered in time.

    Only the rows that neither model has learned are compared.
    """
    y, metric, resampling = test.prepared.holdout.y, test.metric, test.resampling_of(baseline.rows)
    rows = np.arange(len(y)) if baseline.rows is None else baseline.rows
    y, candidate, baseline_prediction = y[rows], candidate[rows], baseline.prediction[rows]

    def score_interval(prediction: Prediction) -> Interval:
        return bootstrap_interval(metric.score, y, prediction, test.alpha, resampling, metric.resampled)

    improvement = paired_interval(
        metric.score,
        metric.maximize,
        y,
        candidate,
        baseline_prediction,
        test.alpha,
        resampling,
        metric.resampled,
    )
    verdict = verdict_of_interval(improvement)
    return Comparison(
        score_interval(candidate), baseline.name, score_interval(baseline_prediction), improvement, verdict, len(rows)
    )


def constant_prediction(prepared: PreparedRows) -> Prediction:
    """The best prediction of the holdout that is the same for every row: shares of classes, the mean, or the
    quantile that the metric asks for."""
    data = prepared.problem.data
    answer = constant_answer(prepared.spec.task, len(prepared.schema.classes), data.y, data.quantile)
    return np.broadcast_to(answer, (len(prepared.holdout), *answer.shape))


def constant_scores(prepared: PreparedRows, metric: Metric) -> dict[str, float]:
    """The score of one answer for every row of the holdout, by the name under which a version is registered with it."""
    try:
        return {f"{CONSTANT}{metric.name}": metric.score(prepared.holdout.y, constant_prediction(prepared))}
    except InvalidData:  # the metric is undefined on a holdout of one class
        return {}


def champion_on_holdout(prepared: PreparedRows, registry: Registry) -> tuple[Baseline | None, str | None]:
    """The champion's prediction on the holdout, or None with the reason why there is none to compare with."""
    champion = champion_of(prepared.spec.model_id, registry)
    return (None, None) if champion is None else version_on_holdout(champion, prepared, registry)


def version_on_holdout(
    version: ModelVersion, prepared: PreparedRows, registry: Registry, least: int = MIN_HOLDOUT_ROWS
) -> tuple[Baseline | None, str | None]:
    """The prediction of a present or former champion on the holdout, or None with the reason why it has none.

    It is compared on the rows that it has not learned; where it has learned some, at least `least` must be left. A note
    says where it does not tell.
    """
    try:
        champion = load_version(version, registry)
        if tuple(champion.schema.classes) != tuple(prepared.schema.classes):
            return None, f"champion version {version.version} knows other classes; compared with defaults instead"
        prediction = champion.scores(encode(prepared.holdout_rows, champion.schema))
    except (CorruptBundle, InvalidData) as error:
        return None, f"champion version {version.version} cannot score these rows ({error}); compared with defaults"
    rows = unlearned_rows(prepared, champion.manifest)
    if rows is not None and len(rows) < least:
        return None, _refusal_text(version.version, len(rows), least, prepared)
    untold = champion.manifest.trained_until is None and prepared.holdout_time is not None
    note = f"champion version {version.version} does not tell which rows it has learned: some may be the holdout's"
    return Baseline(f"champion (version {version.version})", prediction, rows), note if untold else None


def unlearned_rows(prepared: PreparedRows, manifest: Manifest) -> Rows | None:
    """The holdout rows whose label windows begin after those of all rows that the version has learned.

    None for all of them: also for rows without an order, and for a version that does not tell what it has learned.
    """
    until, time = manifest.trained_until, prepared.holdout_time
    if until is None or time is None or manifest.data.get("ordered_by") != prepared.ordered_by:
        return None
    own = -math.inf if prepared.trained_until is None else prepared.trained_until
    later = time + prepared.first_position > max(until, own) + prepared.spec.horizon
    return None if later.all() else np.flatnonzero(later)


def _refusal_text(version: str, rows: int, least: int, prepared: PreparedRows) -> str:
    horizon = f", by the label horizon of {prepared.spec.label_horizon} at least" if prepared.spec.horizon else ""
    return (
        f"only {rows:,} of the {len(prepared.holdout):,} rows of the holdout are later than all that champion version"
        f" {version} has learned{horizon}: it takes {least:,} to compare it"
    )


def baseline_for(
    prepared: PreparedRows, registry: Registry, defaults: Callable[[], Prediction]
) -> tuple[Baseline, str | None]:
    """The champion where there is one that can score these rows, otherwise the default parameters."""
    champion, note = champion_on_holdout(prepared, registry)
    return champion or Baseline("default parameters", defaults()), note
