"""Intervals of a store: one journal a model, which is replaced only as its writer has read it, number by number."""

import asyncio
from dataclasses import replace

import pytest

from optagent.domain.prediction_interval import IntervalRecord, IntervalThresholds, ServedThresholds
from optagent.errors import Conflict

NUMBERS = (5e-324, 0.1 + 0.2, 1 / 3, 1.0, 1e300)


def a_record(model_id: str = "rent", **changes: object) -> IntervalRecord:
    return replace(IntervalRecord(model_id, "1", 1.0, {"rows": 0}, IntervalThresholds(NUMBERS)), **changes)


async def test_a_model_without_intervals_has_no_journal(store):
    assert await store.intervals("rent") is None


async def test_a_journal_of_intervals_reads_back_as_it_was_to_the_last_bit(store):
    record = a_record(
        state={"newest": list(NUMBERS), "rows": 3},
        looked_at=2.5,
        known="QUJD",
        served=(ServedThresholds(0.1, 2, NUMBERS),),
        covered={"19675": (5, 1, 2, 3, 4, 5)},
        waits_for="labels",
    )
    await store.save_intervals(record, None)
    assert await store.intervals("rent") == record
    assert await store.intervals("lease") is None


async def test_of_many_passes_exactly_one_replaces_a_journal_of_intervals(store):
    before = a_record()
    await store.save_intervals(before, None)
    tries = (store.save_intervals(replace(before, looked_at=float(number)), before) for number in range(1, 21))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19


async def test_a_journal_of_intervals_that_is_not_there_is_not_replaced(store):
    with pytest.raises(Conflict, match=r"intervals of 'rent' were changed"):
        await store.save_intervals(a_record(looked_at=1.0), a_record())
