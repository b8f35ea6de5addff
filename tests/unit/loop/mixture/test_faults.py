"""Faults and harm: learning waits while labels cannot be trusted, and people hear of it, and of a broken promise."""

from dataclasses import replace

import pytest

from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.mixture import MixtureMode
from optagent.loop.mixture.acts import change_mode, forget_rows
from optagent.loop.mixture.status import status_of
from tests.unit.loop.mixture.test_passes import DAY, act, learn


async def open_alert(world, kind=AlertKind.PIPELINE, message="labels of 40 % of the rows are missing"):
    now = world.clock.now()
    alert = Alert(f"churn:{kind}", "churn", kind, Severity.CRITICAL, message, {}, now, now)
    await world.store.save_alerts([alert])
    return alert


async def resolve(world, alert):
    await world.store.save_alerts([replace(alert, resolved_at=world.clock.now())])


async def mixture_alerts(world):
    return [alert for alert in await world.store.alerts("churn") if alert.kind is AlertKind.MIXTURE]


@pytest.mark.parametrize("kind", [AlertKind.PIPELINE, AlertKind.LABELS])
async def test_learning_waits_while_a_fault_lasts_and_learns_what_waited_when_it_is_over(world, kind):
    await world.begin()
    await learn(world)
    alert = await open_alert(world, kind)
    for _ in range(9):
        await world.answer(10)
        await world.advance(DAY)
    assert await world.learned() == 20
    await resolve(world, alert)
    await world.advance()
    assert await world.learned() == 20 + 90
    assert (await world.replay()).is_same


async def test_labels_of_a_fault_that_are_forgotten_are_not_learned_when_it_is_over(world):
    await world.begin()
    alert = await open_alert(world)
    await learn(world)
    await forget_rows(act(world), alert.first_seen - 30, world.clock.now(), world.context())
    await resolve(world, alert)
    await world.advance()
    assert await world.learned() == 0


@pytest.mark.parametrize("kind", [AlertKind.DATA_DRIFT, AlertKind.PERFORMANCE, AlertKind.CONCEPT_DRIFT])
async def test_learning_goes_on_while_the_world_changes(world, kind):
    await world.begin()
    await open_alert(world, kind)
    await learn(world)
    assert await world.learned() == 20
    assert await mixture_alerts(world) == []


async def test_journal_status_and_a_notice_say_that_learning_waits(world):
    await world.begin()
    fault = await open_alert(world)
    await world.advance()
    record = await world.record()
    assert record.waits_for == "pipeline: labels of 40 % of the rows are missing"
    assert (record.mode, record.reason) == (MixtureMode.LEARNING, "")
    assert status_of(record).reason == f"learning waits for the end of a fault: {record.waits_for}"
    (alert,) = await mixture_alerts(world)
    assert alert.message.startswith("learning waits until the fault of its labels or pipeline is over")
    assert (alert.severity, alert.notified_at) == (Severity.WARNING, world.clock.now())
    await resolve(world, fault)
    await world.advance()
    (alert,) = await mixture_alerts(world)
    assert not alert.is_open
    assert status_of(await world.record()).reason == ""


async def test_people_are_told_once_a_day_of_a_fault_that_lasts(world):
    await world.begin()
    await open_alert(world)
    told = set()
    for _ in range(72):
        await world.advance(3_600.0)
        told |= {alert.notified_at for alert in await mixture_alerts(world)}
    assert len(told) == 3


async def test_the_freeze_of_a_person_outlasts_a_fault(world):
    await world.begin()
    await change_mode(act(world, "suspicious labels"), MixtureMode.FROZEN, world.context())
    alert = await open_alert(world)
    await learn(world)
    await resolve(world, alert)
    await world.advance()
    record = await world.record()
    assert (record.mode, record.reason, record.waits_for) == (MixtureMode.FROZEN, "ana: suspicious labels", "")
    assert await world.learned() == 0


async def test_a_broken_certificate_is_one_critical_alert_until_it_is_mended(world):
    await world.begin()
    await learn(world)
    record = await world.record()
    broken = {**record.state, "regret": [1e6, 0.0, 0.0]}
    await world.store.save_mixture(replace(record, state=broken), record)
    for _ in range(3):
        await world.advance()
    (alert,) = await mixture_alerts(world)
    assert (alert.is_open, alert.severity, alert.first_seen) == (True, Severity.CRITICAL, alert.notified_at)
    assert "further behind a slot than the certificate allows" in alert.message
    assert (await world.record()).published.guard == 1.0
    await world.store.save_mixture(replace(await world.record(), state=record.state), await world.record())
    await world.advance()
    assert not (await mixture_alerts(world))[0].is_open


async def test_an_alert_that_becomes_more_severe_is_told_at_once(world):
    await world.begin()
    await open_alert(world)
    await world.advance()
    record = await world.record()
    await world.store.save_mixture(replace(record, state={**record.state, "regret": [1e6, 0.0, 0.0]}), record)
    await world.advance()
    (alert,) = await mixture_alerts(world)
    assert (alert.severity, alert.notified_at) == (Severity.CRITICAL, world.clock.now())
