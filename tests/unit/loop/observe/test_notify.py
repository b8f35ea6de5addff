"""People are told once, whatever fails and whoever else tells."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from optagent.adapters.in_memory.clock import ManualClock
from optagent.adapters.in_memory.store import InMemoryStore
from optagent.domain.alert import Severity
from optagent.domain.notice import Notice, NoticeKind
from optagent.errors import InvalidRequest, Unavailable
from optagent.loop.observe.notify import RETRY_S, send_notices
from tests.fakes.notifier import InMemoryNotifier

DAY_S = 86_400.0


def a_notice(key: str, model_id: str = "churn") -> Notice:
    return Notice(NoticeKind.FAILURE, model_id, f"{model_id}: {key}", "", Severity.WARNING, 100.0, key)


class Sender:
    """A notifier in memory and how it is asked."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.store = InMemoryStore(self.clock)
        self.notifier = InMemoryNotifier()

    async def __call__(self, *notices: Notice) -> int:
        return await send_notices(notices, self.notifier, self.store, self.clock.now(), DAY_S)

    @property
    def titles(self) -> list[str]:
        return [message.title for _, message in self.notifier.sent]


@pytest.fixture
def send() -> Sender:
    return Sender()


async def test_what_is_new_is_told_and_what_was_told_is_not(send):
    assert await send(a_notice("a")) == 1
    assert await send(a_notice("a"), a_notice("b")) == 1
    assert await send() == 0
    assert send.titles == ["churn: a", "churn: b"]


async def test_several_of_one_model_are_one_message(send):
    assert await send(a_notice("a"), a_notice("b"), a_notice("b"), a_notice("c", "delays")) == 3
    assert send.titles == ["churn: a, and 1 more", "delays: c"]


async def test_after_the_cool_down_a_key_is_new(send):
    await send(a_notice("a"))
    send.clock.advance(DAY_S - 1)
    assert await send(a_notice("a")) == 0
    send.clock.advance(2)
    assert await send(a_notice("a")) == 1


async def test_a_restart_tells_nothing_again(send):
    await send(a_notice("a"))
    send.notifier = InMemoryNotifier()
    assert await send(a_notice("a")) == 0


async def test_what_could_not_be_sent_is_told_a_minute_later(send):
    send.notifier.down.add("memory")
    with pytest.raises(Unavailable, match="not told by memory"):
        await send(a_notice("a"))
    assert await send(a_notice("a")) == 0
    send.notifier.down.clear()
    send.clock.advance(RETRY_S)
    assert await send(a_notice("a")) == 1
    send.clock.advance(RETRY_S)
    assert await send(a_notice("a")) == 0
    assert send.titles == ["churn: a"]


async def test_one_message_that_cannot_be_sent_does_not_keep_the_others(send):
    class Picky(InMemoryNotifier):
        def send(self, notices: Notice | Sequence[Notice]) -> None:
            if isinstance(notices, Notice) or notices[0].model_id == "churn":
                raise Unavailable("not told by slack (HTTP 400)")
            super().send(notices)

    send.notifier = Picky()
    with pytest.raises(Unavailable, match=r"^not told by slack \(HTTP 400\)$"):
        await send(a_notice("a"), a_notice("b", "delays"), a_notice("c", "spam"))
    assert send.titles == ["delays: b", "spam: c"]
    assert await send(a_notice("b", "delays")) == 0


async def test_of_many_tellers_one_tells(send):
    assert sum(await asyncio.gather(*(send(a_notice("a"), a_notice("b")) for _ in range(10)))) == 2
    assert len({*send.titles}) == len(send.titles)


async def test_a_teller_that_dies_on_the_way_leaves_it_to_be_told(send):
    class Deadly(InMemoryNotifier):
        def send(self, notices: Notice | Sequence[Notice]) -> None:
            raise RuntimeError("killed")

    send.notifier = Deadly()
    with pytest.raises(RuntimeError):
        await send(a_notice("a"))
    send.notifier = InMemoryNotifier()
    send.clock.advance(3600)
    assert await send(a_notice("a")) == 1


@pytest.mark.parametrize("cooldown_s", [0.0, -1.0, math.nan])
async def test_a_cool_down_that_is_none_is_refused(send, cooldown_s):
    with pytest.raises(InvalidRequest, match="cooldown_s must be above 0"):
        await send_notices([], send.notifier, send.store, 0.0, cooldown_s)
