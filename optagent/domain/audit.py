"""Who asked for what, when, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit log; `at` is a POSIX time.

    `actor` is a token's name, "anonymous" or "optagent"; `action` a verb such as `rollout.promote` or `auth.refused`;
    `target` what it was done to; `outcome` "done" or why it was refused. No feature values, no secrets.
    """

    at: float
    actor: str
    action: str
    target: str = ""
    outcome: str = "done"
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
