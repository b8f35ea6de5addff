"""Audit search: the entries that fit words and times."""

import pytest

from optagent.domain.audit import AuditEntry
from optagent.domain.audit_search import AuditSearch
from optagent.errors import InvalidRequest

ENTRY = AuditEntry(100.0, "token:Ana (api)", "rollout.promote", "churn", detail={"process_id": "optimize-1"})


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"actor": "ana"},
        {"action": "ROLLOUT"},
        {"target": "chu"},
        {"target": "optimize-1"},
        {"since": 100.0, "until": 100.5},
        {"actor": "ana", "action": "promote", "target": "churn", "since": 0.0},
    ],
)
def test_an_entry_fits(words: dict) -> None:
    assert AuditSearch(**words).matches(ENTRY)


@pytest.mark.parametrize(
    "words",
    [
        {"actor": "bob"},
        {"action": "abort"},
        {"target": "fraud"},
        {"since": 100.5},
        {"until": 100.0},
        {"actor": "ana", "target": "fraud"},
    ],
)
def test_an_entry_does_not_fit(words: dict) -> None:
    assert not AuditSearch(**words).matches(ENTRY)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"since \(5\) must be before until \(5\)"):
        AuditSearch(since=5.0, until=5.0)
    with pytest.raises(InvalidRequest, match="actor must have at most 200 characters"):
        AuditSearch(actor="x" * 201)
