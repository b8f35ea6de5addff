"""Audit log bounds: the number of links that every store of the audit log keeps, and the check of a page's start."""

from optagent.errors import InvalidRequest

MAX_LINKS = 100_000
"""The number of links that are kept, the newest ones."""


def checked_after(after: int) -> int:
    """`after` unchanged; InvalidRequest below 0."""
    if after < 0:
        raise InvalidRequest(f"after must not be negative, got {after!r}")
    return after
