"""Candidate judgement: a registered version is judged by every gate and compared with the champion, with digests."""

import asyncio
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optagent.arrays import Prediction, Rows
from optagent.codec import decode, encode, plain
from optagent.domain.gate import GateReport, GateResult, Gates, Verdict
from optagent.domain.model import CHAMPION as CHAMPION_ALIAS
from optagent.domain.model import ModelVersion
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.loop.gates.anchor import attach_anchor
from optagent.loop.gates.bundle import CandidateBundle, judge_bundle
from optagent.loop.gates.evaluate import CHAMPION, judge_gates, spend_look_and_judge
from optagent.loop.gates.rival import find_rival
from optagent.loop.train.holdout import HoldoutTest, constant_scores
from optagent.loop.train.holdout_looks import look_at, scores_digest
from optagent.loop.train.prepare import PreparedRows, digest_of
from optagent.ports import Registry
from optagent.training.families.family import FittedModel
from optagent.training.metrics import METRICS, monitored_metrics
from optagent.training.plan import FeaturePlan
from optagent.training.version_warnings import version_warnings


@dataclass(frozen=True, slots=True)
class GateJudgement:
    """The report of the gates, and the scores of candidate and champion on the same holdout rows.

    Both scores are of the rows that neither has learned. `evidence` names the champion and the version that stood for
    it, and has the digests of both predictions, as `GateDecision` keeps them.
    """

    report: GateReport
    metric: str
    new_metrics: Mapping[str, float]
    old_metrics: Mapping[str, float] = field(default_factory=dict)
    baseline_name: str | None = None
    evidence: Mapping[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def improvement(self) -> Interval | None:
        """The improvement over the champion, positive where the candidate is better; None without a comparison."""
        result = self.report.result(CHAMPION)
        if result is None or result.measured is None or not {"low", "high", "alpha"} <= set(result.evidence):
            return None
        ends = result.evidence
        return Interval(result.measured, ends["low"], ends["high"], ends["alpha"])

    @property
    def corrected_gain(self) -> float | None:
        """The improvement without the luck of having passed; None where it did not pass, or was not compared."""
        result = self.report.result(CHAMPION)
        return None if result is None else result.evidence.get("corrected")

    @property
    def percentage(self) -> float:
        """The improvement of the score in percent of the champion's, positive where better; 0 without a champion."""
        before, after = self.old_metrics.get(self.metric), self.new_metrics.get(self.metric)
        if not before or after is None:
            return 0.0
        return (1 if METRICS[self.metric].maximize else -1) * 100 * (after - before) / abs(before)

    def describe_failures(self) -> str:
        """The gates that it did not pass, with their reasons."""
        results = [result for result in self.report.results if result.verdict is not Verdict.PASS]
        return "; ".join(f"{result.name}: {result.verdict}, {result.reason}" for result in results)

    def to_plain(self) -> dict[str, Any]:
        """Plain data for JSON, from which a runner that takes over restores the judgement."""
        return {
            "report": plain(self.report),
            "metric": self.metric,
            "new_metrics": dict(self.new_metrics),
            "old_metrics": dict(self.old_metrics),
            "baseline_name": self.baseline_name,
            "evidence": dict(self.evidence),
            "notes": list(self.notes),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "GateJudgement":
        return cls(**{**data, "report": decode(GateReport, data["report"]), "notes": tuple(data.get("notes", ()))})


async def judge_candidate(
    gates: Gates, version: ModelVersion, model: FittedModel, test: HoldoutTest, process_id: str, ports: Ports
) -> GateJudgement:
    """Counts the look at the holdout first, then judges the version's own bundle; raises what the ports raise.

    `model` is the one that was built: the bundle has to predict the same. `test.alpha` is the risk of all looks.
    """
    prepared = test.prepared
    champion = await asyncio.to_thread(champion_of, version.model_id, ports.registry)
    rival = await asyncio.to_thread(find_rival, champion, gates, test, ports.registry)
    baseline, why = rival.baseline, rival.note
    anchor: Mapping[str, str | None] = {}
    if champion is not None and baseline is not None:
        baseline, anchor = await asyncio.to_thread(attach_anchor, gates, champion, baseline, test, ports.registry)
    prediction = await asyncio.to_thread(model.predict, prepared.holdout.x)
    with tempfile.TemporaryDirectory(prefix="optagent-judged-") as scratch:
        folder = await asyncio.to_thread(ports.registry.fetch, version, Path(scratch))
        candidate = CandidateBundle(folder, version.digest, prediction, version.version)

        def judge(alpha: float, number: int) -> GateReport:
            look_test = replace(test, alpha=alpha)
            return judge_gates(
                gates, candidate, baseline, look_test, why_no_champion=why, loader=ports.loader, look=number
            )

        compares = baseline is not None and gates.beats_champion is not False
        look = look_at(prepared, version.version, process_id, ports.clock.now(), test.alpha)
        report = await spend_look_and_judge(ports.store, replace(look, compares=compares), test.criterion, judge)
    return GateJudgement(
        report,
        test.metric.name,
        _scores(prediction, test, None if baseline is None else baseline.rows),
        {} if baseline is None else _scores(baseline.prediction, test, baseline.rows),
        None if baseline is None else baseline.name,
        evidence={
            "scores_sha256": scores_digest(prediction),
            "champion_version": None if champion is None else champion.version,
            "champion_sha256": None if champion is None else champion.digest,
            "champion_scores_sha256": None if baseline is None else scores_digest(baseline.prediction),
            "rival_version": None if rival.version is None else rival.version.version,
            "rival_sha256": None if rival.version is None else rival.version.digest,
            **anchor,
        },
        notes=_warn_of_first(version, prediction, test) if champion is None else (why,) if baseline and why else (),
    )


def _warn_of_first(version: ModelVersion, prediction: Prediction, test: HoldoutTest) -> tuple[str, ...]:
    """Notes about a first version, which becomes champion without a comparison, where one answer for all is better."""
    name = test.metric.name
    scores = {f"holdout_{name}": score for metric, score in _scores(prediction, test, None).items() if metric == name}
    metrics = {**scores, **constant_scores(test.prepared, test.metric)}
    return version_warnings(replace(version, aliases=(CHAMPION_ALIAS,), metrics=metrics))


def judge_built_bundle(
    gates: Gates, version: ModelVersion, model: FittedModel, prepared: PreparedRows, ports: Ports
) -> list[GateResult]:
    """The gates of a version's bundle alone, tried on the rows of the holdout; blocks. Raises what the ports raise."""
    with open_candidate(version, model.predict(prepared.holdout.x), ports.registry) as candidate:
        return judge_bundle(gates, candidate, prepared, ports.loader)


@contextmanager
def open_candidate(version: ModelVersion, prediction: Prediction, registry: Registry) -> Iterator[CandidateBundle]:
    """A registered version's own bundle, with what the built model predicts; raises what the registry raises."""
    with tempfile.TemporaryDirectory(prefix="optagent-judged-") as scratch:
        yield CandidateBundle(registry.fetch(version, Path(scratch)), version.digest, prediction, version.version)


def judged_rows_digest(prepared: PreparedRows) -> str:
    """SHA-256 of the holdout as gates read it: its encoded rows, its targets, and the groups of sensitive columns."""
    digest = hashlib.sha256(digest_of(prepared.holdout).encode())
    for name in prepared.spec.sensitive_columns:
        values = prepared.holdout_rows.column(name).to_pylist() if name in prepared.holdout_rows.column_names else None
        digest.update(repr((name, values)).encode())
    return digest.hexdigest()


def plan_digest(plan: FeaturePlan | None) -> str | None:
    """SHA-256 of a plan as it is stored, None without one."""
    return None if plan is None else hashlib.sha256(encode(plan)).hexdigest()


def as_logged(result: GateResult) -> GateResult:
    """A gate's result as JSON holds it: numbers that are not finite become None."""
    evidence = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in result.evidence.items()
    }
    return decode(GateResult, json.loads(encode(replace(result, evidence=evidence))))


def _scores(prediction: Prediction, test: HoldoutTest, rows: Rows | None) -> dict[str, float]:
    """Scores by the model's metric and by those that a monitor reports, where they are defined."""
    scores: dict[str, float] = {}
    y = test.prepared.holdout.y
    y, prediction = (y, prediction) if rows is None else (y[rows], prediction[rows])
    for metric in (test.metric, *monitored_metrics(test.prepared.spec.task)):
        try:
            score = float(metric.score(y, prediction))
        except InvalidData:
            continue
        if math.isfinite(score):
            scores.setdefault(metric.name, score)
    return scores
