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
from optagent.loop.observe.notify import RETRY_S, tell
from tests.fakes.notifier import InMemoryNotifier

DAY_S = 86_400.0


def a_notice(key: str, model_id: str = "churn") -> Notice:
    return Notice(NoticeKind.FAILURE, model_id, f"{model_id}: {key}", "", Severity.WARNING, 100.0, key)


class Told:
    """A notifier in memory and how it is asked."""

    def __init__(self) -> None:
        self.clock = ManualClock(1000.0)
        self.store = InMemoryStore(self.clock)
        self.notifier = InMemoryNotifier()

    async def __call__(self, *notices: Notice) -> int:
        return await tell(notices, self.notifier, self.store, self.clock.now(), DAY_S)

    @property
    def titles(self) -> list[str]:
        return [message.title for _, message in self.notifier.sent]


@pytest.fixture
def told() -> Told:
    return Told()


async def test_what_is_new_is_told_and_what_was_told_is_not(told):
    assert await told(a_notice("a")) == 1
    assert await told(a_notice("a"), a_notice("b")) == 1
    assert await told() == 0
    assert told.titles == ["churn: a", "churn: b"]


async def test_several_of_one_model_are_one_message(told):
    assert await told(a_notice("a"), a_notice("b"), a_notice("b"), a_notice("c", "delays")) == 3
    assert told.titles == ["churn: a, and 1 more", "delays: c"]


async def test_after_the_cool_down_a_key_is_new(told):
    await told(a_notice("a"))
    told.clock.advance(DAY_S - 1)
    assert await told(a_notice("a")) == 0
    told.clock.advance(2)
    assert await told(a_notice("a")) == 1


async def test_a_restart_tells_nothing_again(told):
    await told(a_notice("a"))
    told.notifier = InMemoryNotifier()
    assert await told(a_notice("a")) == 0


async def test_what_could_not_be_sent_is_told_a_minute_later(told):
    told.notifier.down.add("memory")
    with pytest.raises(Unavailable, match="not told by memory"):
        await told(a_notice("a"))
    assert await told(a_notice("a")) == 0
    told.notifier.down.clear()
    told.clock.advance(RETRY_S)
    assert await told(a_notice("a")) == 1
    told.clock.advance(RETRY_S)
    assert await told(a_notice("a")) == 0
    assert told.titles == ["churn: a"]


async def test_one_message_that_cannot_be_sent_does_not_keep_the_others(told):
    class Picky(InMemoryNotifier):
        def send(self, notices: Notice | Sequence[Notice]) -> None:
            if isinstance(notices, Notice) or notices[0].model_id == "churn":
                raise Unavailable("not told by slack (HTTP 400)")
            super().send(notices)

    told.notifier = Picky()
    with pytest.raises(Unavailable, match=r"^not told by slack \(HTTP 400\)$"):
        await told(a_notice("a"), a_notice("b", "delays"), a_notice("c", "spam"))
    assert told.titles == ["delays: b", "spam: c"]
    assert await told(a_notice("b", "delays")) == 0


async def test_of_many_tellers_one_tells(told):
    assert sum(await asyncio.gather(*(told(a_notice("a"), a_notice("b")) for _ in range(10)))) == 2
    assert len({*told.titles}) == len(told.titles)


async def test_a_teller_that_dies_on_the_way_leaves_it_to_be_told(told):
    class Deadly(InMemoryNotifier):
        def send(self, notices: Notice | Sequence[Notice]) -> None:
            raise RuntimeError("killed")

    told.notifier = Deadly()
    with pytest.raises(RuntimeError):
        await told(a_notice("a"))
    told.notifier = InMemoryNotifier()
    told.clock.advance(3600)
    assert await told(a_notice("a")) == 1


@pytest.mark.parametrize("cooldown_s", [0.0, -1.0, math.nan])
async def test_a_cool_down_that_is_none_is_refused(told, cooldown_s):
    with pytest.raises(InvalidRequest, match="cooldown_s must be above 0"):
        await tell([], told.notifier, told.store, 0.0, cooldown_s)
