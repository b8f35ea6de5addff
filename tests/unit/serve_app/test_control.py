"""Control: the agent is made when it is needed, also where that takes several tries, and called by verb."""

import asyncio
from typing import Any

import pytest

from optagent.domain.actor import Actor, Door
from optagent.domain.command import TuneModel
from optagent.errors import InvalidRequest, ModelNotFound, Unavailable
from serve_app import control
from serve_app.control import LazyAgent, VerbServer

ANA = Actor("ana", Door.HTTP, "0f1e2d3c4b5a", "r-1")


class Recipe:
    """Makes `agent`, once Redis is there."""

    def __init__(self, agent: Any = None, away: bool = False) -> None:
        self.agent = agent
        self.away = away
        self.tries = 0

    async def __call__(self) -> Any:
        self.tries += 1
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("Redis at redis:6379 does not answer")
        return self.agent


class Closing:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_it_is_made_once_for_all_who_ask():
    recipe = Recipe(agent := Closing())
    lazy_agent = LazyAgent(recipe)
    assert await asyncio.gather(*(lazy_agent.agent() for _ in range(10))) == [agent] * 10
    assert recipe.tries == 1
    await lazy_agent.close()
    assert agent.closed
    with pytest.raises(Unavailable, match="closing"):
        await lazy_agent.agent()


async def test_while_redis_is_away_all_are_told_so_at_once_and_later_it_works(monkeypatch):
    recipe = Recipe(agent := Closing(), away=True)
    lazy_agent = LazyAgent(recipe)
    errors = await asyncio.gather(*(lazy_agent.agent() for _ in range(10)), return_exceptions=True)
    assert {str(error) for error in errors} == {"Redis at redis:6379 does not answer"}
    assert recipe.tries == 1
    recipe.away = False
    monkeypatch.setattr(control, "_AGAIN_S", 0.0)
    assert await lazy_agent.agent() is agent


async def test_a_refusal_is_an_outcome_and_so_is_an_answer(agent, churn):
    lazy_agent = LazyAgent(Recipe(agent))
    registered = await VerbServer(lazy_agent).call("register_model", (churn,), {}, ANA)
    assert (registered.answer.model_id, registered.refusal) == ("churn", None)
    unknown = await VerbServer(lazy_agent).call("submit", (TuneModel("nobody"),), {}, ANA)
    assert isinstance(unknown.refusal, ModelNotFound)
    away = await VerbServer(LazyAgent(Recipe(away=True))).call("models", (), {}, ANA)
    assert isinstance(away.refusal, Unavailable)


@pytest.mark.parametrize("verb", ["_store", "__class__", "frobnicate"])
async def test_only_verbs_can_be_asked_for(agent, verb):
    outcome = await VerbServer(LazyAgent(Recipe(agent))).call(verb, (), {}, ANA)
    assert isinstance(outcome.refusal, InvalidRequest)
