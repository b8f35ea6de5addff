"""A limit of a command is one of all its steps, and what was complete in it is used."""

import time
from dataclasses import replace
from typing import Any

import pytest

from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.agent.command_start import counting_from
from optagent.errors import OptAgentError
from optagent.loop.process import Run


class UnusedWorkers:
    """Workers that nobody may ask: a search for weights has all predictions already."""

    def share(self, value: Any) -> Any:
        raise AssertionError("members were trained a second time")


class CountingTuner(SequentialTuner):
    """Ends the time of a command after two trials, whatever a clock says."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs

    def search(self, study: Any, problem: Any, *, on_trial: Any, **options: Any) -> Any:
        ended: list[int] = []

        def count(trial: Any) -> None:
            ended.append(trial.number)
            on_trial(trial)
            if len(ended) == 2:
                self._runs[-1].limit_time(1.0, began_at=time.monotonic() - 60)

        return super().search(study, problem, on_trial=count, **options)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that have a limit, in the order in which it was set."""
    limited: list[Run] = []
    limit_time = Run.limit_time

    def remember(run: Run, *arguments: Any, **named: Any) -> None:
        limited.append(run)
        limit_time(run, *arguments, **named)

    monkeypatch.setattr(Run, "limit_time", remember)
    return limited


def small(churn: dict[str, Any]) -> dict[str, Any]:
    return {**churn, "families": ["linear"]}


async def test_a_search_ends_with_the_time_and_the_best_of_its_trials_is_registered(agent, churn, runs):
    agent._ports = replace(agent._ports, tuner=CountingTuner(runs))
    await agent.register_model(small(churn))
    result = await agent.tune_hyperparameters("churn", trials=1000, timeout_s=3600)
    assert "error" not in result
    assert (result.trials, result.timed_out) == (2, True)
    assert result.version == "1"


async def test_without_time_for_its_members_there_is_no_ensemble_and_a_note_names_the_limit(agent, churn, runs):
    agent._ports = replace(agent._ports, tuner=CountingTuner(runs), workers=UnusedWorkers())
    await agent.register_model(small(churn))
    result = await agent.tune_hyperparameters("churn", trials=1000, timeout_s=3600, ensemble=3)
    assert "error" not in result
    assert any("no ensemble: 0 of the trials" in note and "the time limit of 1 s" in note for note in result.notes)


async def test_the_time_before_a_command_came_to_its_search_counts(agent, churn):
    await agent.register_model(small(churn))
    agent._strict = True
    with counting_from(time.monotonic() - 61), pytest.raises(OptAgentError, match="within the time limit of 60 s"):
        await agent.tune_hyperparameters("churn", trials=1000, timeout_s=60)
    [process] = await agent.processes()
    assert process.status == "failed"
    assert await agent.versions("churn") == []


async def test_an_optimization_whose_time_is_over_says_so_too(agent, churn):
    await agent.register_model(small(churn))
    agent._strict = True
    with counting_from(time.monotonic() - 61), pytest.raises(OptAgentError, match="within the time limit of 60 s"):
        await agent.optimize_model("churn", "tune", timeout_s=60)


async def test_an_ensemble_of_models_that_cannot_be_trained_in_time_names_the_limit(agent, churn):
    for name in ("one", "two"):
        await agent.register_model({**small(churn), "id": name})
        await agent.tune_hyperparameters(name, trials=1)
    agent._strict = True
    with counting_from(time.monotonic() - 61), pytest.raises(OptAgentError, match="the time limit of 60 s"):
        await agent.create_ensemble(["one", "two"], timeout_s=60)


async def test_an_ensemble_of_trials_costs_no_second_training(agent, churn):
    agent._ports = replace(agent._ports, workers=UnusedWorkers())
    await agent.register_model(small(churn))
    result = await agent.tune_hyperparameters("churn", trials=6, method="random", ensemble=4)
    assert "error" not in result
    optimized = await agent.optimize_model("churn", "ensemble", trials=4, ensemble=3)
    assert optimized.error is None
