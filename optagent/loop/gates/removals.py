"""Removals: the entries of the audit log by which a replay tells what it lacks because it was pruned or erased."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.retention import ERASED, PRUNED
from optagent.errors import InvalidRequest, NotFound
from optagent.loop.rollout.replay import ReplayDifference

REMOVAL = '"action":"retention.'
"""Text in the line of every such entry, and of few others."""

_ROWS = ("rows", "rows_sha256", "holdout", "holdout_sha256")
_VERSIONS = {
    "candidate: version": "version",
    "champion: version": "champion_version",
    "rival: version": "rival_version",
    "anchor: version": "anchor_version",
}


def is_removal(link: AuditLink) -> bool:
    return _entry_of(link) is not None


def explain_removals(
    changed: Sequence[ReplayDifference], decision: AuditLink, removals: Sequence[AuditLink]
) -> tuple[ReplayDifference, ...]:
    """The differences, with the day on which the rows or the version of one were removed."""
    entries = [entry for link in removals if (entry := _entry_of(link)) is not None]
    later = [each for each in entries if each.target == decision.entry.target and each.at >= decision.entry.at]
    return tuple(_explain(difference, decision.entry, later) for difference in changed)


def check_rollout_stays(rollout_id: str, removals: Sequence[AuditLink]) -> None:
    """Raises NotFound, with the day, where the record of a rollout was pruned."""
    for entry in filter(None, map(_entry_of, removals)):
        if rollout_id in _texts(entry, "rollouts"):
            raise NotFound(f"rollout {rollout_id!r} was pruned on {_day_of(entry)}: its looks are not stored any more")


def _explain(difference: ReplayDifference, decision: AuditEntry, removals: Sequence[AuditEntry]) -> ReplayDifference:
    days = list(dict.fromkeys(_days_of(difference.where, decision, removals)))
    if not days:
        return difference
    return replace(difference, replayed=f"{difference.replayed} (of its rows or files, some were {', '.join(days)})")


def _days_of(where: str, decision: AuditEntry, removals: Sequence[AuditEntry]) -> Iterator[str]:
    for entry in removals:
        verb = "erased" if entry.action == ERASED else "pruned"
        rows = entry.detail.get("rows")
        lost_rows = where in _ROWS and isinstance(rows, dict) and bool(rows.get("matured"))
        version = decision.detail.get(_VERSIONS.get(where, ""))
        if lost_rows or (version is not None and version in _texts(entry, "versions")):
            yield f"{verb} on {_day_of(entry)}"


def _texts(entry: AuditEntry, name: str) -> list[object]:
    values = entry.detail.get(name)
    return list(values) if isinstance(values, list | tuple) else []


def _day_of(entry: AuditEntry) -> str:
    return datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d")


def _entry_of(link: AuditLink) -> AuditEntry | None:
    try:
        entry = link.entry
    except InvalidRequest:
        return None
    return entry if entry.action in (PRUNED, ERASED) else None
