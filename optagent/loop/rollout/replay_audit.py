"""Audit comparison: the transitions, rules and looks of a stored rollout are compared with those that were logged."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from optagent.domain.audit import AuditEntry, AuditLink, bound_entry
from optagent.domain.rollout import Rollout
from optagent.errors import InvalidRequest
from optagent.loop.rollout.reconcile import audit_entry
from optagent.loop.rollout.replay import ReplayDifference

_FORMER_FORMS = dict.fromkeys(("f513f0703ee8", "ee62e151ed06", "46bfafebd3ab"), "816164f10417")
"""Forms of evidence, which are the rules and the looks, by the names that earlier versions gave them.

For the first name, class names and docstrings counted too; for the second, transitions held no `decision_id`; for the
third, there were no `rules`, which are 1 where they are not written.
"""


def differs_from_log(rollout: Rollout, links: Sequence[AuditLink], is_trimmed: bool = False) -> ReplayDifference | None:
    """The difference of the first transition that the log does not hold as the store does, None where all are equal.

    `links` are those that name the rollout. A transition that is not settled is not logged yet, and a log that was
    trimmed lacks the older ones.
    """
    logged = [(link.sequence, entry) for link in links if (entry := _read_entry(link)) is not None]
    for number, change in enumerate(rollout.transitions[: rollout.settled], 1):
        own = audit_entry(rollout, change)
        entries = [(sequence, entry) for sequence, entry in logged if _entry_key(entry) == _entry_key(own)]
        if not entries and not is_trimmed:
            return ReplayDifference(f"transition {number}: in the audit log", "there", "missing")
        differences = [next(_entry_differences(f"transition {number}", own, *each), None) for each in entries]
        if differences and None not in differences:
            return differences[-1]
    return None


def _read_entry(link: AuditLink) -> AuditEntry | None:
    try:
        return bound_entry(link.entry)  # earlier versions had no limits
    except InvalidRequest:
        return None


def _entry_key(entry: AuditEntry) -> tuple[str, Any]:
    """State and step of the entry's transition, which are unique within a rollout."""
    return entry.action, entry.detail.get("step")


def _entry_differences(where: str, own: AuditEntry, sequence: int, logged: AuditEntry) -> Iterator[ReplayDifference]:
    values = [("at", own.at, logged.at), ("by", own.actor, logged.actor), ("model", own.target, logged.target)]
    values += [(name, own.detail.get(name), value) for name, value in logged.detail.items() if name != "evidence"]
    evidence, own_evidence = logged.detail.get("evidence"), own.detail["evidence"]
    if evidence is not None and own_evidence is not None:
        form, digest = _form_and_digest(evidence)
        if form == _form_and_digest(own_evidence)[0]:
            values.append(("evidence", own_evidence, f"{form}:{digest}"))
    for name, stored, value in values:
        if json.dumps(stored) != json.dumps(value):
            yield ReplayDifference(f"{where}: {name}, in link {sequence} of the audit log", str(stored), str(value))


def _form_and_digest(evidence: str) -> tuple[str, str]:
    form, _, digest = str(evidence).partition(":")
    return _FORMER_FORMS.get(form, form), digest
