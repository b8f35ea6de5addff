"""Audit signatures: HMAC-SHA256 of each link by a key that is kept outside the store of the log.

The signature of a link is made over its sequence number and its digest, which covers every link before it. Keys have an
order: once a newer key has signed a link, no older one may sign a later link.
"""

import hmac
import re
from dataclasses import dataclass, field
from hashlib import sha256
from secrets import token_hex

from optagent.errors import InvalidRequest

_SECRET = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AuditKey:
    """A secret of 32 bytes, and the id that links name it by."""

    key_id: str
    secret: bytes = field(repr=False)

    def sign(self, sequence: int, digest: str) -> str:
        """The signature of a link, in hexadecimal."""
        return hmac.digest(self.secret, f"optagent audit link\n{sequence}\n{digest}".encode(), "sha256").hex()

    def has_signed(self, sequence: int, digest: str, signature: str) -> bool:
        return hmac.compare_digest(self.sign(sequence, digest), signature)


@dataclass(frozen=True, slots=True)
class AuditKeyring:
    """Keys from the oldest to the newest; the newest one signs, all of them verify."""

    keys: tuple[AuditKey, ...] = ()

    @property
    def newest(self) -> AuditKey | None:
        return self.keys[-1] if self.keys else None

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(key.key_id for key in self.keys)

    def place(self, key_id: str) -> int | None:
        """The place of a key in the order, None for a key that is not here."""
        return next((place for place, key in enumerate(self.keys) if key.key_id == key_id), None)


def new_secret() -> str:
    """A line for a file of keys."""
    return token_hex(32)


def parse_keyring(text: str) -> AuditKeyring:
    """The keys of a file: 64 hexadecimal digits a line, the oldest first; blank lines and those with # do not count.

    Raises InvalidRequest, which names the line and never what it holds.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        secret = line.strip().lower()
        if not secret or secret.startswith("#"):
            continue
        if _SECRET.fullmatch(secret) is None:
            raise InvalidRequest(f"line {number} must be an audit key of 64 hexadecimal digits: openssl rand -hex 32")
        keys.append(AuditKey(_key_id(bytes.fromhex(secret)), bytes.fromhex(secret)))
    if not keys:
        raise InvalidRequest("there must be an audit key, a line of 64 hexadecimal digits, and there is none")
    return AuditKeyring(tuple(keys))


def _key_id(secret: bytes) -> str:
    return sha256(b"optagent audit key\n" + secret).hexdigest()[:16]
