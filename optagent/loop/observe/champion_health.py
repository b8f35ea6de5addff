"""Champion health: the diagnosis of the champion's last rows, as an optimization begins with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.codec import plain
from optagent.domain.command import AnalyzeModel, OptimizeModel
from optagent.domain.diagnosis import Remedy
from optagent.errors import InvalidData, InvalidRequest, NotFound
from optagent.loop.context import Ports
from optagent.loop.process import Run


@dataclass(frozen=True, slots=True)
class ChampionHealth:
    """The remedy that the diagnosis asks for, when the concept changed (POSIX time), and a note; None where unknown."""

    remedy: Remedy | None = None
    changed_at: float | None = None
    diagnosis: Mapping[str, Any] | None = None
    note: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "remedy": self.remedy,
            "changed_at": self.changed_at,
            "diagnosis": self.diagnosis,
            "said": self.note,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "ChampionHealth":
        remedy = None if data["remedy"] is None else Remedy(data["remedy"])
        return cls(remedy, data["changed_at"], data["diagnosis"], data["said"])


async def check_champion(command: OptimizeModel, ports: Ports, run: Run) -> ChampionHealth:
    """Analyzes the champion, where rows were recorded that tell; without any, a person may know better all the same."""
    if "analyze" in run.stage_outputs:
        return ChampionHealth.from_plain(run.stage_outputs["analyze"])
    await run.stage("analyze")
    health = await _analyze(command, ports)
    await run.keep("analyze", health.to_plain())
    return health


async def _analyze(command: OptimizeModel, ports: Ports) -> ChampionHealth:
    from optagent.loop.observe.cached_report import analyze_cached  # what it imports takes a second
    from optagent.loop.observe.running_detector import standing_alarm

    analysis = AnalyzeModel(command.model_id, time_range=command.time_range)
    try:
        report = await analyze_cached(analysis, ports, standing_alarm)
    except (InvalidData, InvalidRequest, NotFound) as error:
        return ChampionHealth(note=f"nothing is known of what the champion answered lately: {error}")
    diagnosis, drift = report.diagnosis, report.concept_drift
    return ChampionHealth(
        None if diagnosis is None else diagnosis.remedy,
        None if drift is None or not drift.is_detected else drift.changed_at,
        None if diagnosis is None else plain(diagnosis),
        "" if diagnosis is None else f"{diagnosis.verdict}: {'; '.join(diagnosis.reasons)}",
    )
