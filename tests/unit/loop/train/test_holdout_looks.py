import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.gate import Verdict
from optagent.domain.model import Task
from optagent.domain.study import Interval
from optagent.errors import InvalidData
from optagent.loop.train.holdout import Baseline, Comparison, HoldoutTest
from optagent.loop.train.holdout_looks import (
    degrees_of_freedom,
    holdout_digest,
    look_at,
    prove_on_holdout,
    record_look,
    restrict_comparison,
)
from optagent.sequential.holdout_ledger import FIRST_SHARE
from optagent.training.metrics import metric_named

ROWS = 600
RNG = np.random.default_rng(1)
Y = RNG.normal(size=ROWS)


class Holdout(SimpleNamespace):
    def __len__(self):
        return ROWS


HOURS = np.arange(ROWS) * 3600.0


def prepared_rows(time=HOURS):
    return SimpleNamespace(
        spec=SimpleNamespace(model_id="m1", target="y", task=Task.REGRESSION),
        holdout=Holdout(y=Y),
        holdout_time=time,
        holdout_entity=None,
    )


@pytest.fixture
def ports():
    clock = ManualClock(1000.0)
    return SimpleNamespace(store=InMemoryStore(clock), clock=clock)


def a_test():
    return HoldoutTest(prepared_rows(), metric_named("rmse", Task.REGRESSION), 0.05, 0)


def baseline(noise):
    return Baseline("the champion", Y + RNG.normal(0, noise, ROWS))


def test_a_look_names_its_model_its_holdout_and_its_rows():
    look = look_at(prepared_rows(), "7", "p1", 5.0, 0.05)
    assert (look.ledger, look.holdout, look.number) == ("m1", holdout_digest(prepared_rows()), 0)
    assert look.sample == look_at(prepared_rows(), "8", "p2", 6.0, 0.01).sample


async def test_looks_that_are_made_at_once_get_numbers_and_shares_of_their_own(ports):
    looks = [look_at(prepared_rows(), f"c{number}", "p1", 5.0, 0.05) for number in range(6)]
    recorded = await asyncio.gather(*(record_look(ports.store, look) for look in looks))
    assert sorted(look.number for look in recorded) == [1, 2, 3, 4, 5, 6]
    assert sum(look.share for look in recorded) == pytest.approx(6 / 15)


async def test_a_look_that_is_made_again_has_the_share_that_it_had(ports):
    look = look_at(prepared_rows(), "c1", "p1", 5.0, 0.05)
    first = await record_look(ports.store, look)
    await record_look(ports.store, look_at(prepared_rows(), "c2", "p1", 5.0, 0.05))
    assert await record_look(ports.store, look) == first
    assert first.share == FIRST_SHARE


async def test_a_search_that_found_something_better_proves_it_at_the_price_of_a_look(ports):
    comparison = await prove_on_holdout(Y + RNG.normal(0, 0.1, ROWS), baseline(0.3), a_test(), "p1", ports)
    assert comparison.verdict is Verdict.PASS
    assert comparison.improvement.alpha == pytest.approx(2 * 0.05 * FIRST_SHARE)
    assert 0 < comparison.corrected <= comparison.improvement.estimate
    (look,) = await ports.store.looks("m1")
    assert (look.verdict, look.process_id, look.has_proved) == (Verdict.PASS, "p1", True)


async def test_each_further_search_on_the_same_rows_has_less_to_spend(ports):
    alphas = []
    for number in range(40):
        comparison = await prove_on_holdout(baseline(0.4).prediction, baseline(0.3), a_test(), f"p{number}", ports)
        alphas.append(comparison.improvement.alpha / 2)
    assert sum(alphas) < 0.05
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[9] > alphas[0] / 4


async def test_a_search_whose_comparison_breaks_has_spent_its_look(ports):
    short = Baseline("the champion", np.zeros(3))
    with pytest.raises((InvalidData, ValueError, IndexError)):
        await prove_on_holdout(Y, short, a_test(), "p1", ports)
    assert [(look.number, look.verdict) for look in await ports.store.looks("m1")] == [(1, None)]


def test_a_gain_that_did_not_pass_is_not_corrected():
    interval = Interval(0.5, 0.1, 0.9, 0.1)
    comparison = Comparison(interval, "it", interval, interval, Verdict.PASS, ROWS)
    assert restrict_comparison(comparison, 1e-4, 50.0).corrected is None
    assert restrict_comparison(comparison, 1e-4, 50.0).verdict is Verdict.INCONCLUSIVE


def test_overlapping_blocks_have_one_and_a_half_degrees_of_freedom_each_and_rows_without_order_one():
    assert degrees_of_freedom(prepared_rows(), ROWS) == pytest.approx(600 / 9 * 1.5)
    assert degrees_of_freedom(prepared_rows(np.repeat(np.arange(8.0), 75)), ROWS) == 6.0
    assert degrees_of_freedom(prepared_rows(None), ROWS) == ROWS - 1
