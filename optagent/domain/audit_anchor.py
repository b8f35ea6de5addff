"""Audit anchor: facts about the audit log that are kept where who can write its store cannot reach them."""

from dataclasses import dataclass

from optagent.domain.audit import GENESIS, ChainPoint
from optagent.domain.audit_signature import AuditKeyring


@dataclass(frozen=True, slots=True)
class AuditAnchor:
    """An outer bound on a log: a forged or shortened one contradicts it.

    `start` is the point after which no link may be missing, `signed_from` the sequence number from which on every link
    is signed (None: none is yet), `head` a recent head of the log.
    """

    start: ChainPoint = GENESIS
    signed_from: int | None = None
    head: ChainPoint = GENESIS


@dataclass(frozen=True, slots=True)
class AuditTrust:
    """Means to verify a log with: its anchor, and the keys of its signatures; None where there are none."""

    anchor: AuditAnchor | None = None
    keyring: AuditKeyring | None = None
