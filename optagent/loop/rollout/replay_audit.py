"""Replay of a rollout against the audit log: transitions, rules and looks in the store are those that were logged."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from optagent.domain.audit import AuditEntry, AuditLink
from optagent.domain.rollout import Rollout
from optagent.errors import InvalidRequest
from optagent.loop.rollout.reconcile import audit_entry
from optagent.loop.rollout.replay import ReplayDifference

_FORMER_FORMS = {"f513f0703ee8": "ee62e151ed06"}
"""Forms of evidence by the name that an earlier version gave them, for which class names and docstrings counted too."""


def unlike_log(rollout: Rollout, links: Sequence[AuditLink], is_trimmed: bool = False) -> ReplayDifference | None:
    """The first transition that the log does not hold as the store does; `links` are those that name the rollout.

    A transition that nothing has followed yet is not logged, and of a log that is trimmed older ones are missing.
    """
    logged = [(link.sequence, entry) for link in links if (entry := _entry(link)) is not None]
    for number, change in enumerate(rollout.transitions[: rollout.settled], 1):
        own = audit_entry(rollout, change)
        found = [(sequence, entry) for sequence, entry in logged if _place(entry) == _place(own)]
        if not found and not is_trimmed:
            return ReplayDifference(f"transition {number}: in the audit log", "there", "missing")
        differences = [next(_unlike(f"transition {number}", own, *each), None) for each in found]
        if differences and None not in differences:
            return differences[-1]
    return None


def _entry(link: AuditLink) -> AuditEntry | None:
    try:
        return link.entry
    except InvalidRequest:
        return None


def _place(entry: AuditEntry) -> tuple[str, Any]:
    """A rollout is in each state, and at each step of its ramp, once."""
    return entry.action, entry.detail.get("step")


def _unlike(where: str, own: AuditEntry, sequence: int, logged: AuditEntry) -> Iterator[ReplayDifference]:
    told = [("at", own.at, logged.at), ("by", own.actor, logged.actor), ("model", own.target, logged.target)]
    told += [(name, own.detail.get(name), value) for name, value in logged.detail.items() if name != "evidence"]
    evidence, kept = logged.detail.get("evidence"), own.detail["evidence"]
    if evidence is not None and kept is not None:
        form, digest = _form_and_digest(evidence)
        if form == _form_and_digest(kept)[0]:
            told.append(("evidence", kept, f"{form}:{digest}"))
    for name, stored, value in told:
        if json.dumps(stored) != json.dumps(value):
            yield ReplayDifference(f"{where}: {name}, in link {sequence} of the audit log", str(stored), str(value))


def _form_and_digest(evidence: str) -> tuple[str, str]:
    form, _, digest = str(evidence).partition(":")
    return _FORMER_FORMS.get(form, form), digest
