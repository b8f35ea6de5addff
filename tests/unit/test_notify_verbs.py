"""Notification verbs: people are told of stored news once, over the channels of the settings."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from optagent import create_optimization_agent
from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.in_memory.registry import InMemoryRegistry
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.adapters.in_memory.tracker import InMemoryTracker
from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.bootstrap import parts as made_of
from optagent.domain.alert import Alert, AlertKind, Severity
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.process import Process, Status
from optagent.domain.rollout import abort, begin
from optagent.domain.rollout_policy import RolloutPolicy
from optagent.errors import InvalidRequest, Unavailable
from optagent.settings import load_settings
from tests.fakes.notifier import InMemoryNotifier

NOW = 1_700_000_000.0
HOUR_S, DAY_S = 3600.0, 86_400.0


class Parts:
    """The ports of an agent, to be looked into."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.store = InMemoryStore(self.clock)
        self.registry = InMemoryRegistry(self.clock)
        self.tracker = InMemoryTracker()
        self.observations = InMemoryObservations()
        self.notifier = InMemoryNotifier()

    @property
    def titles(self) -> list[str]:
        return [message.title for _, message in self.notifier.sent]

    async def save_process(self, process_id: str, status: Status, moved_at: float, **changes: Any) -> None:
        process = Process(process_id, "tune", "churn", status, moved_at, moved_at)
        await self.store.create_process(replace(process, **changes), 15.0)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
async def agent(parts: Parts) -> AsyncIterator[Any]:
    async with await create_optimization_agent(strict=True, tuner=SequentialTuner(), **vars(parts)) as new_agent:
        await parts.store.save_model(ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "label"))
        yield new_agent


async def test_a_test_notice_is_sent_each_time_it_is_asked_for(agent, parts):
    await agent.test_notification()
    parts.clock.advance(1)
    await agent.test_notification()
    assert parts.titles == ["optagent: test"] * 2


async def test_a_channel_that_is_down_is_told_to_who_tries_it(agent, parts):
    parts.notifier.down.add("memory")
    with pytest.raises(Unavailable, match="not told by memory"):
        await agent.test_notification()


async def test_where_nothing_happened_nobody_is_told(agent, parts):
    assert await agent.notify_once() == 0
    assert parts.notifier.sent == []


async def test_open_alerts_are_told_when_watching_says_so_and_again_when_it_says_so_again(agent, parts):
    alert = Alert("a1", "churn", AlertKind.LATENCY, Severity.INFO, "slow", {}, NOW, NOW, notified_at=NOW)
    alerts = [alert, replace(alert, alert_id="a2", resolved_at=NOW), replace(alert, alert_id="a3", notified_at=None)]
    await parts.store.save_alerts(alerts)
    assert await agent.notify_once() == 1
    await parts.store.save_alerts([replace(alert, last_seen=NOW + 60)])
    assert await agent.notify_once() == 0
    await parts.store.save_alerts([replace(alert, notified_at=NOW + HOUR_S)])
    assert await agent.notify_once() == 1
    assert parts.titles == ["churn: latency (info)"] * 2


async def test_each_decision_about_a_rollout_of_the_last_day_is_told_once(agent, parts):
    rollout = begin("r1", "churn", "3", "4", RolloutPolicy(), NOW - DAY_S, "alice")
    await parts.store.create_rollout(rollout)
    assert await agent.notify_once() == 0
    await parts.store.save_rollout(abort(rollout, "bob", "no need", NOW), rollout)
    following = begin("r2", "churn", "3", "5", RolloutPolicy(), NOW + 1, "alice")
    await parts.store.create_rollout(following)
    assert await agent.notify_once() == 2
    assert await agent.notify_once() == 0
    [(_, message)] = parts.notifier.sent
    assert "the rollout of version 4 is aborted" in message.text
    assert "version 5 is compared with version 3 in shadow" in message.text


async def test_failures_and_verdicts_of_the_last_hour_are_told_once(agent, parts):
    await parts.save_process("old", Status.FAILED, NOW - HOUR_S, error="x")
    await parts.save_process("failed", Status.FAILED, NOW - HOUR_S + 1, error="x")
    await parts.save_process("judged", Status.SUCCEEDED, NOW, result={"verdict": "fail"})
    await parts.save_process("plain", Status.SUCCEEDED, NOW, result={"drift": 3})
    await parts.save_process("cancelled", Status.CANCELLED, NOW, error="x")
    await parts.save_process("running", Status.RUNNING, NOW - DAY_S + 60)
    assert await agent.notify_once() == 2
    parts.clock.advance(30)  # the runner of the one that runs does not say that it lives
    assert await agent.notify_once() == 1
    assert await agent.notify_once() == 0
    assert [title.partition(",")[0] for title in parts.titles] == ["churn: tune failed", "churn: tune interrupted"]


async def test_what_could_not_be_told_is_told_later(agent, parts):
    await parts.save_process("failed", Status.FAILED, NOW, error="x")
    parts.notifier.down.add("memory")
    with pytest.raises(Unavailable, match="not told by memory"):
        await agent.notify_once()
    parts.notifier.down.clear()
    parts.clock.advance(61)
    assert await agent.notify_once() == 1


async def test_an_agent_without_a_notifier_says_what_to_set(parts):
    ports = {**vars(parts), "notifier": None}
    async with await create_optimization_agent(strict=True, tuner=SequentialTuner(), **ports) as agent:
        for verb in (agent.test_notification, agent.notify_once):
            with pytest.raises(InvalidRequest, match="set OPT_AGENT_ENABLE_NOTIFICATIONS"):
                await verb()


async def test_closing_the_agent_closes_its_notifier(parts):
    async with await create_optimization_agent(strict=True, tuner=SequentialTuner(), **vars(parts)) as agent:
        await agent.test_notification()
    with pytest.raises(Unavailable, match="closed"):
        await agent.test_notification()


def test_channels_come_from_the_settings():
    assert made_of.notifier(load_settings()) is None
    notifier: Any = made_of.notifier(
        load_settings(
            enable_notifications=True,
            notification_channels="email,slack",
            slack_webhook_url="https://hooks.slack.com/services/T0/B0/c0",
            smtp_host="smtp.example.com",
            smtp_username="me@example.com",
            smtp_password="p@ss:/?#",
            email_from="optagent@example.com",
            email_to="a@example.com,b@example.com",
            notification_urls="json://hooks.example.com/a,ntfy://topic",
        )
    )
    assert notifier.channels == ("slack", "email", "email", "json", "ntfy")


def test_a_url_that_no_channel_can_be_made_of_is_refused():
    settings = load_settings(enable_notifications=True, notification_urls="json://ok.example.com,pigeon://loft")
    with pytest.raises(InvalidRequest, match=r"notification URL 2 \(pigeon\)"):
        made_of.notifier(settings)


async def test_the_failure_of_a_process_that_began_before_hundreds_of_others_is_told(agent, parts):
    await parts.save_process("long", Status.FAILED, NOW, created_at=NOW - DAY_S, error="x")
    for number in range(250):
        await parts.save_process(f"tune-{number}", Status.CANCELLED, NOW - HOUR_S)
    assert await agent.notify_once() == 1
    assert parts.titles == ["churn: tune failed"]
