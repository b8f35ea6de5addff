"""Mixture verbs and their command: what answers is shown, held, freed and mended, and every act is in the audit log."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from optagent import terminal_mixture
from optagent.cli import app, mixtures
from optagent.cli import audit as audit_command
from optagent.domain.audit import AuditEntry
from optagent.domain.mixture import MixturePoint
from optagent.domain.mixture_status import spread_points
from optagent.errors import Conflict, InvalidRequest, ModelNotFound, NotFound
from optagent.loop.mixture.advance import PUBLISHED
from tests.fakes.mixtures import MixedTraffic

START = 1_700_000_000.0


async def test_the_slots_weights_losses_and_the_certificate_are_told(traffic: MixedTraffic) -> None:
    status = await traffic.agent.mixture("churn")
    slots = {slot.name: slot for slot in status.slots}
    assert (status.mode, status.reason, status.rows, len(status.history)) == ("learning", "", 400, 4)
    assert list(slots) == ["champion", "all", "1/4", "1/16"]
    assert slots["1/4"].weight > slots["champion"].weight
    assert slots["champion"].ahead > 0 > status.certificate.behind_champion
    assert status.certificate.holds
    assert status.digest == (await traffic.weights()).digest


async def test_a_frozen_mixture_learns_nothing_until_it_is_thawed(traffic: MixedTraffic) -> None:
    frozen = await traffic.agent.freeze_mixture("churn", who="ana", why="the labels are odd")
    assert (frozen.mode, frozen.reason) == ("frozen", "local:ana (sdk): the labels are odd")
    await traffic.run(2)
    assert (await traffic.agent.mixture("churn")).rows == 400
    assert (await traffic.agent.thaw_mixture("churn")).mode == "learning"
    await traffic.run(1)
    assert (await traffic.agent.mixture("churn")).rows > 400


async def test_the_champion_answers_alone_at_once_until_the_mixture_is_thawed(traffic: MixedTraffic) -> None:
    status = await traffic.agent.use_champion_only("churn", why="complaints")
    assert status.mode == "champion_only"
    assert await traffic.weights() is None
    await traffic.supervise()
    assert await traffic.weights() is None
    await traffic.agent.thaw_mixture("churn")
    assert (await traffic.weights()).slots == ("champion", "all", "1/4", "1/16")


async def test_freezing_does_not_bring_back_a_mixture_that_was_put_aside(traffic: MixedTraffic) -> None:
    await traffic.agent.use_champion_only("churn", why="complaints")
    with pytest.raises(Conflict, match="the champion of 'churn' answers alone"):
        await traffic.agent.freeze_mixture("churn")
    assert await traffic.weights() is None
    refused = (await traffic.agent.audit(1))[0]
    assert (refused.action, refused.outcome.endswith("thaw it first")) == ("mixture.freeze", True)


@pytest.mark.parametrize(
    ("verb", "action"),
    [
        ("freeze_mixture", "mixture.freeze"),
        ("thaw_mixture", "mixture.thaw"),
        ("use_champion_only", "mixture.champion_only"),
    ],
)
async def test_each_act_is_in_the_audit_log_and_doing_it_twice_changes_nothing(
    traffic: MixedTraffic, verb: str, action: str
) -> None:
    await getattr(traffic.agent, verb)("churn", who="ana", why="sure")
    first = await traffic.agent.mixture("churn")
    await getattr(traffic.agent, verb)("churn", who="ana", why="sure")
    assert await traffic.agent.mixture("churn") == first
    entries = [entry for entry in await traffic.agent.audit(10) if entry.action == action]
    assert [(entry.actor, entry.outcome, entry.detail) for entry in entries] == 2 * [
        ("local:ana (sdk)", "done", {"why": "sure"})
    ]


async def test_rows_that_are_forgotten_leave_the_weights_for_good(traffic: MixedTraffic) -> None:
    before = await traffic.agent.mixture("churn")
    status = await traffic.agent.forget_mixture_rows("churn", (START, START + 100), who="ana", why="wrong labels")
    assert (status.rows, status.forgotten) == (300, ((START, START + 100),))
    assert status.digest != before.digest
    assert (await traffic.weights()).digest == status.digest
    await traffic.run(1)
    assert (await traffic.agent.mixture("churn")).rows == 400
    entry = next(entry for entry in await traffic.agent.audit(10) if entry.action == "mixture.forget")
    assert entry.detail == {"why": "wrong labels", "start": START, "end": START + 100}
    assert (await traffic.agent.replay_mixture("churn")).is_same


@pytest.mark.parametrize(
    ("time_range", "message"),
    [
        ("2026-11-01..2026-11-03", "must end before now"),
        ("2023-11-03..2023-11-01", "the second instant must be after the first"),
        ("yesterday", "write a duration back from now such as 24h, or two instants"),
    ],
)
async def test_a_range_that_cannot_be_forgotten_is_refused(
    traffic: MixedTraffic, time_range: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await traffic.agent.forget_mixture_rows("churn", time_range)
    assert (await traffic.agent.mixture("churn")).forgotten == ()


async def test_a_model_without_a_mixture_is_told_so(traffic: MixedTraffic, churn: dict[str, Any]) -> None:
    await traffic.agent.register_model({**churn, "id": "plain"})
    agent = traffic.agent
    for verb in (agent.mixture, agent.freeze_mixture, agent.thaw_mixture, agent.use_champion_only):
        with pytest.raises(NotFound, match="'plain' has no mixture"):
            await verb("plain")
        with pytest.raises(ModelNotFound):
            await verb("nobody")
    with pytest.raises(NotFound, match="'plain' has no mixture"):
        await agent.forget_mixture_rows("plain", "1h")
    with pytest.raises(NotFound, match="'plain' has no mixture"):
        await agent.replay_mixture("plain")


async def test_a_policy_that_lets_the_champion_answer_is_told(traffic: MixedTraffic) -> None:
    await traffic.agent.update_model("churn", {"policy": "conservative"})
    status = await traffic.agent.mixture("churn")
    assert (status.mode, status.reason) == ("champion_only", "the model's policy says answer: champion")
    await traffic.supervise()
    assert await traffic.weights() is None


async def test_archived_rows_give_every_published_digest_again(traffic: MixedTraffic) -> None:
    replay = await traffic.agent.replay_decision("churn")
    published = [record for record in await traffic.agent.audit_records(50) if record.action == PUBLISHED]
    assert replay == await traffic.agent.replay_mixture("churn")
    assert (replay.is_same, replay.passes, replay.rows, replay.digests) == (True, 4, 400, len(published))
    assert await traffic.agent.replay_decision(published[0].sequence) == replay


async def test_weights_of_slots_that_came_and_went_come_out_again(traffic: MixedTraffic) -> None:
    spec = await traffic.agent.model("churn")
    policy = replace(spec.policy, slots=("champion", "all", "1/4", "90d"))
    await traffic.ports.store.save_model(replace(spec, policy=policy))
    traffic.clock.advance(100.0)
    await traffic.supervise()  # without a new row
    assert (await traffic.weights()).slots == ("champion", "all", "1/4", "90d")
    await traffic.run(1)
    replay = await traffic.agent.replay_mixture("churn")
    assert (replay.rows, replay.difference) == (500, "")


async def test_a_digest_that_the_rows_do_not_give_is_a_difference(traffic: MixedTraffic) -> None:
    await traffic.agent.record_audit(
        AuditEntry(START, "agent", PUBLISHED, "churn", detail={"digest": "f" * 64, "passes": 2})
    )
    assert "pass 2: the log has ffffffffffff" in (await traffic.agent.replay_mixture("churn")).difference


Ask = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
async def command(traffic: MixedTraffic, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`await command("mixture", "churn")`: the command's result, by the agent of the traffic."""
    loop = asyncio.get_running_loop()

    def answer(verb: Any, register: Any = None) -> Any:
        return asyncio.run_coroutine_threadsafe(verb(traffic.agent), loop).result()

    for module in (mixtures, audit_command):
        monkeypatch.setattr(module, "with_agent", answer)
    return lambda *arguments: asyncio.to_thread(CliRunner().invoke, app, arguments)


async def test_the_command_shows_slots_certificate_and_history(traffic: MixedTraffic, command: Ask) -> None:
    text = (await command("mixture", "churn")).output
    status = await traffic.agent.mixture("churn")
    assert "the mixture of churn is learning: its weights follow the labels" in text
    assert "learned from 400 rows" in text
    assert status.certificate.words in text
    assert text.count("1/16") >= 2
    assert json.loads((await command("mixture", "churn", "--json")).output)["rows"] == 400


@pytest.mark.parametrize(
    ("option", "mode"), [("--freeze", "frozen"), ("--thaw", "learning"), ("--champion-only", "champion_only")]
)
async def test_the_command_acts_with_a_reason(traffic: MixedTraffic, command: Ask, option: str, mode: str) -> None:
    result = await command("mixture", "churn", option, "--why", "odd labels", "--json")
    assert json.loads(result.output)["mode"] == mode
    entries = await traffic.agent.audit(5)
    assert any(entry.action.startswith("mixture.") and entry.detail.get("why") == "odd labels" for entry in entries)


async def test_the_command_forgets_a_range(command: Ask) -> None:
    result = await command("mixture", "churn", "--forget", f"{START}..{START + 100}")
    assert "without the rows from 2023-11-14" in result.output
    assert "learned from 300 rows" in result.output


async def test_two_acts_at_once_are_refused(command: Ask) -> None:
    result = await command("mixture", "churn", "--freeze", "--champion-only")
    assert isinstance(result.exception, InvalidRequest)
    assert str(result.exception) == "one act at a time, got --freeze and --champion-only"


async def test_the_audit_command_replays_a_mixture(traffic: MixedTraffic, command: Ask) -> None:
    result = await command("audit", "replay", "churn")
    assert result.exit_code == 0
    assert "the mixture of churn comes out the same (400 rows in 4 passes" in result.output
    await traffic.agent.record_audit(
        AuditEntry(START, "agent", PUBLISHED, "churn", detail={"digest": "f" * 64, "passes": 2})
    )
    assert (await command("audit", "replay", "churn")).exit_code == 1


async def test_a_mixture_before_its_first_label_says_so(traffic: MixedTraffic) -> None:
    status = await traffic.agent.mixture("churn")
    slots = tuple(replace(slot, rows=0, loss=None) for slot in status.slots)
    out = StringIO()
    fresh = replace(status, rows=0, loss=None, slots=slots, history=(), published_at=0.0)
    terminal_mixture.show_mixture(Console(file=out, width=120), fresh)
    assert "no labelled rows yet, since 2023-11-14" in out.getvalue()
    assert "weights over time" not in out.getvalue()


@pytest.mark.parametrize(("most", "expected"), [(0, []), (1, [9]), (2, [0, 9]), (4, [0, 3, 6, 9]), (20, range(10))])
def test_points_are_spread_evenly_with_the_newest(most: int, expected: Any) -> None:
    points = [MixturePoint(float(number), number, 0.0, (), (), ()) for number in range(10)]
    assert [point.rows for point in spread_points(points, most)] == list(expected)
