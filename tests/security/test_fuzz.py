"""A short fuzz of a gateway in a process of its own; the long one is `python -m tests.security.fuzz_bodies`."""

import asyncio

import pytest

from tests.security.fuzz_bodies import fuzz, gateway_alone


@pytest.mark.timeout(180)
def test_a_gateway_survives_some_hundred_mutated_bodies() -> None:
    with gateway_alone() as target:
        outcome = asyncio.run(fuzz(target, requests=600, seed=7, within_s=90))
    assert outcome.troubles == []
    assert {200, 400, 422} <= set(outcome.statuses)
