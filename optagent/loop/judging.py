"""Judging: a registered candidate at every gate, beside the champion, at the price of one look at the holdout."""

import asyncio
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optagent.codec import decode, plain
from optagent.domain.gate import GateReport, gates_from
from optagent.domain.study import Interval
from optagent.domain.verdict import Verdict
from optagent.domain.version import ModelVersion
from optagent.errors import InvalidData
from optagent.loop.gate import CHAMPION, Candidate, judge_gates, judged, look_at
from optagent.loop.outside import Outside
from optagent.loop.prepare import Prepared
from optagent.loop.validate import champion_on_holdout
from optagent.ports import Store
from optagent.training.families.family import FittedModel, Prediction
from optagent.training.metrics import Metric, monitored_metrics


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gates said, and the scores of both on the same holdout rows."""

    report: GateReport
    metric: str
    new_metrics: Mapping[str, float]
    old_metrics: Mapping[str, float] = field(default_factory=dict)
    baseline_name: str | None = None

    @property
    def improvement(self) -> Interval | None:
        """Over the champion, positive where the candidate is better."""
        result = self.report.result(CHAMPION)
        if result is None or result.measured is None or not {"low", "high", "alpha"} <= set(result.evidence):
            return None
        found = result.evidence
        return Interval(result.measured, found["low"], found["high"], found["alpha"])

    @property
    def percentage(self) -> float | None:
        """The improvement as a share of the champion's score, in percent."""
        before, found = self.old_metrics.get(self.metric), self.improvement
        return None if found is None or not before else 100 * found.estimate / abs(before)

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
        }

    @classmethod
    def from_plain(cls, kept: Mapping[str, Any]) -> "Judgement":
        return cls(**{**kept, "report": decode(GateReport, kept["report"])})


async def judge_candidate(
    gates: Mapping[str, Any],
    version: ModelVersion,
    model: FittedModel,
    prepared: Prepared,
    metric: Metric,
    alpha: float,
    seed: int,
    process_id: str,
    outside: Outside,
    store: Store,
) -> Judgement:
    """Counts the look at the holdout first, then judges the version's own bundle; raises what the ports raise.

    `model` is what was built: the bundle has to say the same.
    """
    asked = gates_from(gates)
    champion, why = await asyncio.to_thread(champion_on_holdout, prepared, outside.registry)
    prediction = await asyncio.to_thread(model.predict, prepared.holdout.x)
    with tempfile.TemporaryDirectory(prefix="optagent-judged-") as scratch:
        folder = await asyncio.to_thread(outside.registry.fetch, version, Path(scratch))
        candidate = Candidate(folder, version.digest, prediction, version.version)

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
    return Judgement(report, metric.name, _scores(prediction, prepared, metric), old, name)


def _scores(prediction: Prediction, prepared: Prepared, metric: Metric) -> dict[str, float]:
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
