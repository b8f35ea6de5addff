import math
from dataclasses import replace

import pytest

from optagent.codec import decode, encode
from optagent.domain.gate_evidence import GateEvidence
from optagent.errors import InvalidRequest

EVIDENCE = GateEvidence(0.03, 5, 260, 0.1, 2.0, 3.0, 0.5, 0.1, 40.0, 90.0)


def test_the_evidence_of_a_gate_is_kept_as_json():
    assert decode(GateEvidence, encode(EVIDENCE)) == EVIDENCE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.5}, "alpha must be between 0 and 0.5, got 0.5"),
        ({"block": 0}, "a block has a row at least"),
        ({"total": math.nan}, "total must be a finite number, got nan"),
    ],
)
def test_sums_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InvalidRequest, match=message):
        replace(EVIDENCE, **changes)
