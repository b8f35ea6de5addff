"""Judging: a registered candidate at every gate, beside the champion, at the price of one look at the holdout."""

import asyncio
import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Prediction
from optagent.codec import decode, encode, plain
from optagent.domain.gate import GateReport, GateResult, Verdict, gates_from
from optagent.domain.model import CHAMPION as ALIAS
from optagent.domain.model import ModelVersion
from optagent.domain.study import Interval
from optagent.errors import InvalidData, ModelNotFound
from optagent.loop.context import Ports
from optagent.loop.gates.bundle import CandidateBundle
from optagent.loop.gates.evaluate import CHAMPION, judge_gates, judged, look_at
from optagent.loop.train.holdout import version_on_holdout
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.ports import Registry, Store
from optagent.training.families.family import FittedModel
from optagent.training.metrics import METRICS, Metric, monitored_metrics
from optagent.training.plan import FeaturePlan


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """What the gates said, and the scores of both on the same holdout rows.

    `evidence` says which champion it was, and has the digests of what both said, as `JudgedBy` keeps them.
    """

    report: GateReport
    metric: str
    new_metrics: Mapping[str, float]
    old_metrics: Mapping[str, float] = field(default_factory=dict)
    baseline_name: str | None = None
    evidence: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def improvement(self) -> Interval | None:
        """Over the champion, positive where the candidate is better."""
        result = self.report.result(CHAMPION)
        if result is None or result.measured is None or not {"low", "high", "alpha"} <= set(result.evidence):
            return None
        found = result.evidence
        return Interval(result.measured, found["low"], found["high"], found["alpha"])

    @property
    def percentage(self) -> float:
        """By how much the candidate's score is better, as a share of the champion's, in percent; 0 without one."""
        before, after = self.old_metrics.get(self.metric), self.new_metrics.get(self.metric)
        if not before or after is None:
            return 0.0
        return (1 if METRICS[self.metric].maximize else -1) * 100 * (after - before) / abs(before)

    def in_words(self) -> str:
        """Why it is not let on: the gates that it did not pass."""
        held = [one for one in self.report.results if one.verdict is not Verdict.PASS]
        return "; ".join(f"{one.name}: {one.verdict}, {one.reason}" for one in held)

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "report": plain(self.report),
            "metric": self.metric,
            "new_metrics": dict(self.new_metrics),
            "old_metrics": dict(self.old_metrics),
            "baseline_name": self.baseline_name,
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_plain(cls, kept: Mapping[str, Any]) -> "GateJudgement":
        return cls(**{**kept, "report": decode(GateReport, kept["report"])})


async def judge_candidate(
    gates: Mapping[str, Any],
    version: ModelVersion,
    model: FittedModel,
    prepared: PreparedRows,
    metric: Metric,
    alpha: float,
    seed: int,
    process_id: str,
    outside: Ports,
    store: Store,
) -> GateJudgement:
    """Counts the look at the holdout first, then judges the version's own bundle; raises what the ports raise.

    `model` is what was built: the bundle has to say the same.
    """
    asked = gates_from(gates)
    known = await asyncio.to_thread(_champion, version.model_id, outside.registry)
    champion, why = None, None
    if known is not None:
        champion, why = await asyncio.to_thread(version_on_holdout, known, prepared, outside.registry)
    prediction = await asyncio.to_thread(model.predict, prepared.holdout.x)
    with tempfile.TemporaryDirectory(prefix="optagent-judged-") as scratch:
        folder = await asyncio.to_thread(outside.registry.fetch, version, Path(scratch))
        candidate = CandidateBundle(folder, version.digest, prediction, version.version)

        def judge(alpha_of_look: float, number: int) -> GateReport:
            return judge_gates(
                asked,
                candidate,
                champion,
                prepared,
                metric,
                alpha_of_look,
                seed,
                why_no_champion=why,
                loader=outside.loader,
                look=number,
            )

        look = look_at(prepared, version.version, process_id, outside.clock.now(), alpha)
        report = await judged(store, look, judge)
    old = {} if champion is None else _scores(champion.prediction, prepared, metric)
    name = None if champion is None else champion.name
    evidence = {
        "scores_sha256": scores_digest(prediction),
        "champion_version": None if known is None else known.version,
        "champion_sha256": None if known is None else known.digest,
        "champion_scores_sha256": None if champion is None else scores_digest(champion.prediction),
    }
    return GateJudgement(report, metric.name, _scores(prediction, prepared, metric), old, name, evidence)


def scores_digest(prediction: Prediction) -> str:
    """SHA-256 of what a model says, to the last bit."""
    return hashlib.sha256(np.ascontiguousarray(prediction, dtype=np.float64).data).hexdigest()


def judged_rows_digest(prepared: PreparedRows) -> str:
    """SHA-256 of the holdout as gates read it: its encoded rows, its targets, and the groups of sensitive columns."""
    found = hashlib.sha256(digest_of(prepared.holdout).encode())
    for name in prepared.spec.sensitive_columns:
        values = prepared.holdout_rows.column(name).to_pylist() if name in prepared.holdout_rows.column_names else None
        found.update(repr((name, values)).encode())
    return found.hexdigest()


def plan_digest(plan: FeaturePlan | None) -> str | None:
    """SHA-256 of a plan as it is kept."""
    return None if plan is None else hashlib.sha256(encode(plan)).hexdigest()


def as_logged(result: GateResult) -> GateResult:
    """A gate's result as JSON holds it: numbers that are none are left out."""
    evidence = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.evidence.items()
    }
    return decode(GateResult, json.loads(encode(replace(result, evidence=evidence))))


def _champion(model_id: str, registry: Registry) -> ModelVersion | None:
    try:
        return registry.version(model_id, ALIAS)
    except ModelNotFound:
        return None


def _scores(prediction: Prediction, prepared: PreparedRows, metric: Metric) -> dict[str, float]:
    """Of the model's metric and of those that a monitor reports, where they are defined."""
    found: dict[str, float] = {}
    for one in (metric, *monitored_metrics(prepared.spec.task)):
        try:
            score = float(one.score(prepared.holdout.y, prediction))
        except InvalidData:
            continue
        if math.isfinite(score):
            found.setdefault(one.name, score)
    return found
