"""Harm to the user's own metrics: what falls below the champion alone beyond doubt puts the champion in alone."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.alert import AlertKind, Severity
from optagent.domain.mixture import MixtureMode
from optagent.domain.monitoring import Monitoring
from optagent.loop.mixture.acts import change_mode, forget_rows
from optagent.loop.mixture.advance import HARMED
from optagent.loop.mixture.harm import find_harm, without_days
from optagent.loop.mixture.status import status_of
from tests.unit.loop.mixture.conftest import NOISE, SPEC
from tests.unit.loop.mixture.test_kills import Killed, Lifetime
from tests.unit.loop.mixture.test_passes import DAY, act

HIT = "where(prediction == label, 1, 0)"
MISS = "where(prediction == label, 0, 1)"
"""A metric that is the higher the worse, so that a mixture that is better lowers it."""


@pytest.fixture(autouse=True)
def weak_champion(monkeypatch):
    """A champion that knows so little that a few weeks tell."""
    monkeypatch.setitem(NOISE, "1", 3.0)


def watch(world, **business):
    world.spec = replace(SPEC, monitoring=Monitoring(business=business))


async def answer_for_days(world, days, rows=100):
    """So many days of requests with their labels, learned day by day."""
    for _ in range(days):
        await world.answer(rows)
        await world.advance(DAY)


async def test_a_metric_that_falls_below_the_champions_beyond_doubt_puts_the_champion_in_alone(world):
    watch(world, hits=HIT, misses=MISS)
    await world.begin()
    await answer_for_days(world, 30)
    record = await world.record()
    assert record.mode is MixtureMode.CHAMPION_ONLY
    assert record.reason.startswith("optagent: misses of the answers is below that of the champion alone beyond doubt:")
    assert status_of(record).reason == record.reason
    assert await world.advance() is None
    assert record.events[-1].by == "optagent"
    (entry,) = [entry for entry in await world.store.audit(1_000) if entry.action == HARMED]
    assert entry.detail["metric"] == "misses"
    (alert,) = [alert for alert in await world.store.alerts("churn") if alert.kind is AlertKind.MIXTURE]
    assert (alert.severity, alert.notified_at is None) == (Severity.CRITICAL, False)
    assert "the champion answers alone until the mixture is thawed: misses" in alert.message
    assert (await world.replay()).is_same


async def test_a_metric_that_rises_leaves_the_mixture_in(world):
    watch(world, hits=HIT)
    await world.begin()
    await answer_for_days(world, 30)
    assert (await world.record()).mode is MixtureMode.LEARNING


async def test_a_metric_that_nobody_can_compute_judges_nothing(world):
    watch(world, profit="stake * 2", nonsense="label + 1", broken="import os")
    await world.begin()
    await answer_for_days(world, 10)
    record = await world.record()
    assert record.mode is MixtureMode.LEARNING
    assert record.harm == {"profit": {}, "nonsense": {}, "broken": {}}


async def test_a_metric_may_read_what_was_asked(world):
    watch(world, loss=f"(amount + 1) * {MISS}")
    await world.begin()
    await answer_for_days(world, 30)
    assert (await world.record()).mode is MixtureMode.CHAMPION_ONLY


async def test_a_thawed_mixture_is_judged_anew_and_a_freeze_of_a_person_stays(world):
    watch(world, misses=MISS)
    await world.begin()
    await answer_for_days(world, 30)
    await change_mode(act(world), MixtureMode.LEARNING, world.context())
    await world.advance()
    record = await world.record()
    assert (record.mode, record.reason, record.harm) == (MixtureMode.LEARNING, "", {"misses": {}})
    assert not [alert for alert in await world.store.alerts("churn") if alert.is_open]
    await change_mode(act(world), MixtureMode.FROZEN, world.context())
    await answer_for_days(world, 15)
    assert (await world.record()).mode is MixtureMode.FROZEN


async def test_days_of_rows_that_are_forgotten_do_not_count(world):
    watch(world, misses=MISS)
    await world.begin()
    await answer_for_days(world, 5)
    assert len((await world.record()).harm["misses"]) == 5
    end = world.clock.now() - DAY
    await forget_rows(act(world), end - 2 * DAY, end, world.context())
    assert len((await world.record()).harm["misses"]) <= 3


def test_days_that_a_range_touches_are_left_out():
    sums = {"profit": {str(day): (1.0, 1.0) for day in range(10)}}
    assert list(without_days(sums, 3.5 * DAY, 5.0 * DAY)["profit"]) == ["0", "1", "2", "5", "6", "7", "8", "9"]


def day_sums(means):
    return {"profit": {str(day): (50 * mean, 50.0) for day, mean in enumerate(means.tolist())}}


def test_a_day_that_has_not_ended_is_not_judged():
    means = np.full(15, -1.0)
    assert find_harm(day_sums(means), 13.9 * DAY) is None
    assert find_harm(day_sums(means), 14.0 * DAY) is not None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 11))
async def test_a_kill_at_any_write_still_puts_the_champion_in_alone_and_tells_of_it(world, number, after):
    watch(world, misses=MISS)
    await world.begin()
    record, today = await world.record(), int(world.clock.now() // DAY)
    proof = {str(today - day): (-10.0 - day % 2, 10.0) for day in range(1, 30)}
    await world.store.save_mixture(replace(record, harm={"misses": proof}), record)
    await world.answer()
    lifetime = Lifetime(number, after)
    with suppress(Killed):
        await world.advance(store=lifetime.wrap(world.store), observations=lifetime.wrap(world.observations))
    assert await world.advance() is None
    assert (await world.record()).mode is MixtureMode.CHAMPION_ONLY
    assert await world.learned() == 20
    assert HARMED in {entry.action for entry in await world.store.audit(1_000)}
    assert [alert.is_open for alert in await world.store.alerts("churn")] == [True]
    assert (await world.replay()).is_same
