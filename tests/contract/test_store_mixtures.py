"""Mixtures of a store: one journal a model, which is replaced only as its writer has read it, number by number."""

import asyncio
import math
from dataclasses import replace

import pytest

from optagent.domain.mixture import MixtureEvent, MixtureMode, MixturePoint, MixtureRecord, MixtureWeights
from optagent.domain.model import Task
from optagent.errors import Conflict
from optagent.mixing.learner import MixtureLearner, state_digest

NUMBERS = (0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3)


def a_record(model_id: str = "churn", **changes: object) -> MixtureRecord:
    state = MixtureLearner(Task.BINARY, ("champion", "all")).to_plain()
    return replace(MixtureRecord(model_id, 1.0, state), **changes)


async def test_a_model_without_a_mixture_has_no_journal(store):
    assert await store.mixture("churn") is None


async def test_a_journal_reads_back_as_it_was_to_the_last_bit(store):
    state = MixtureLearner(Task.MULTICLASS, ("champion", "all"), outputs=3).to_plain()
    state = {**state, "loss": 0.1 + 0.2, "slot_loss": list(NUMBERS)}
    weights = MixtureWeights(
        Task.BINARY, ("champion", "all"), ("1", "2"), (NUMBERS,), (NUMBERS,), NUMBERS, guard=1 / 3, learned=7
    )
    record = a_record(
        state=state,
        mode=MixtureMode.FROZEN,
        reason="é",
        versions={"all": "2"},
        pending="QUJD",
        published=weights,
        published_at=0.1 + 0.2,
        is_settled=False,
        waits_for="pipeline",
        held_since=2.5,
        harm={"profit": {"19675": (0.1 + 0.2, 3.0)}},
        forgotten=((0.1, 0.3),),
        events=(MixtureEvent(1.0, "ana", "forgot", 3, {"start": 0.1}),),
        history=(MixturePoint(1.0, 2, 0.7, ("champion",), (0.1 + 0.2,), (1.0,)),),
    )
    await store.save_mixture(record, None)
    stored = await store.mixture("churn")
    assert stored == record
    assert state_digest(stored.state) == state_digest(state)
    assert math.copysign(1, stored.published.top[3]) == -1


async def test_a_journal_is_replaced_only_where_it_is_what_it_was(store):
    first = a_record()
    await store.save_mixture(first, None)
    second = replace(first, passes=1)
    await store.save_mixture(second, first)
    with pytest.raises(Conflict, match=r"mixture of 'churn' was changed"):
        await store.save_mixture(replace(first, passes=2), first)
    with pytest.raises(Conflict, match=r"mixture of 'churn' was changed"):
        await store.save_mixture(a_record(passes=9), None)
    assert await store.mixture("churn") == second


async def test_a_journal_that_is_not_there_is_not_replaced(store):
    with pytest.raises(Conflict):
        await store.save_mixture(a_record(passes=1), a_record())
    assert await store.mixture("churn") is None


async def test_a_write_that_is_repeated_after_its_answer_was_lost_changes_nothing(store):
    first, second = a_record(), a_record(passes=1)
    await store.save_mixture(first, None)
    await store.save_mixture(second, first)
    await store.save_mixture(second, first)
    assert await store.mixture("churn") == second


async def test_of_many_learners_exactly_one_replaces_a_journal(store):
    before = a_record()
    await store.save_mixture(before, None)
    tries = (store.save_mixture(replace(before, passes=number), before) for number in range(1, 21))
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 19


async def test_the_journals_of_models_are_kept_apart(store):
    await store.save_mixture(a_record(), None)
    await store.save_mixture(a_record("fraud", passes=4), None)
    assert (await store.mixture("churn")).passes == 0
    assert (await store.mixture("fraud")).passes == 4
