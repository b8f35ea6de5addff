import json
import math
from hashlib import sha256
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optagent.domain.audit import GENESIS, AuditEntry, bound_entry, entry_text, link_entry
from optagent.domain.audit_limits import DECISION_BYTES, DETAIL_BYTES, TEXT_LIMITS, bound_detail, cut_text
from optagent.domain.gate_decision import JUDGED
from optagent.errors import InvalidRequest

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


def entry(**changes: Any) -> AuditEntry:
    return AuditEntry(1.0, "ci", "model.update", **changes)


def test_an_entry_within_the_limits_stays_as_it_is():
    small = entry(outcome="o" * 1000, detail={"changes": MappingProxyType({"a": [1, None]}), "text": "x" * 3900})
    assert bound_entry(small) == small


def test_a_large_value_becomes_its_size_and_digest_and_small_ones_stay():
    large = {"b": "é" * 3000, "a": [1, 2]}
    detail = bound_entry(entry(detail={"changes": large, "step": 3})).detail
    text = json.dumps(large, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert detail == {"changes": {"bytes": len(text), "sha256": sha256(text).hexdigest()}, "step": 3}


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=5), st.sampled_from([1, 10, 100]), st.sampled_from([1, 10, 100]))
def test_any_detail_fits_and_fits_still_when_it_is_bounded_again(parts: dict[str, Any], longer: int, more: int):
    detail = {f"{key * longer}{number}": [value] * longer for number in range(more) for key, value in parts.items()}
    bounded = bound_detail(detail)
    text = json.dumps(bounded, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert len(text.encode()) <= DETAIL_BYTES
    assert bound_detail(bounded) == bounded


@pytest.mark.parametrize("name", TEXT_LIMITS)
def test_a_long_text_is_cut_and_says_how_long_it_was(name: str):
    text = getattr(bound_entry(AuditEntry(**{"at": 1.0, "actor": "ci", "action": "a", name: "x" * 5000})), name)
    assert len(text) == TEXT_LIMITS[name]
    assert text.endswith("... (5000 characters)")
    assert cut_text(text, TEXT_LIMITS[name]) == text


def test_a_gate_decision_has_room_to_be_replayed_and_a_limit_too():
    results = [{"name": f"gate {number}", "reason": "r" * 200} for number in range(100)]
    decision = AuditEntry(1.0, "optagent", JUDGED, detail={"results": results})
    assert bound_entry(decision) == decision
    huge = AuditEntry(1.0, "optagent", JUDGED, detail={"results": results * 100})
    assert len(entry_text(huge).encode()) < DECISION_BYTES


@pytest.mark.parametrize("value", [math.nan, b"bytes", "\ud800" * 5000, {1: 1, 2: 2, 10: 3}])
def test_what_is_no_canonical_json_is_refused_not_hidden(value: object):
    with pytest.raises(InvalidRequest, match="canonical JSON"):
        link_entry(GENESIS, entry(detail={"value": value, "large": "x" * 5000}))
