"""A search that has ended can be looked at: by the agent, and as files beside the tracker's run."""

import json
from dataclasses import replace

import pytest

from optagent.adapters.in_memory.tuner import SequentialTuner
from optagent.errors import InvalidRequest, NotFound
from tests.fakes.studies import InMemoryStudies


class KeepingTuner(SequentialTuner):
    """Searches in this thread, and keeps its studies."""

    def __init__(self, studies: InMemoryStudies) -> None:
        self._studies = studies

    def search(self, study, *arguments, **named):
        outcome = super().search(study, *arguments, **named)
        self._studies.add(study, outcome)
        return outcome


class UnreadableStudies(InMemoryStudies):
    """Cannot draw."""

    def draw(self, study_id):
        raise RuntimeError("no ink")


def keeping(agent, studies):
    agent._ports = replace(agent._ports, tuner=KeepingTuner(studies), studies=studies)
    return agent


def tracked(agent, study_id):
    return agent._ports.tracker.studies[study_id]


async def test_plots_and_importances_are_kept_with_the_run_and_seen_by_the_agent(agent, churn, tmp_path):
    keeping(agent, InMemoryStudies())
    await agent.register_model({**churn, "families": ["linear"]})
    result = await agent.tune_hyperparameters("churn", trials=5)
    artifacts = tracked(agent, result.process_id).artifacts
    assert set(artifacts) == {"study.html", "importances.json"}
    report = await agent.study(result.process_id)
    assert json.loads(artifacts["importances.json"]) == report.importances
    assert len(report.trials) == 5
    assert [one.study_id for one in await agent.studies("churn")] == [result.process_id]
    assert await agent.studies("another") == []
    (path,) = await agent.draw_study(result.process_id, tmp_path / "new" / "folder")
    assert path.parent == tmp_path / "new" / "folder"
    assert path.read_bytes() == artifacts["study.html"]
    assert (await agent.study_page(result.process_id)).encode() == artifacts["study.html"]
    with pytest.raises(InvalidRequest, match="cannot be written"):
        await agent.draw_study(result.process_id, path)
    with pytest.raises(NotFound, match="'nothing'"):
        await agent.study("nothing")


async def test_a_study_that_cannot_be_drawn_is_logged_and_the_search_succeeds(agent, churn, caplog):
    keeping(agent, UnreadableStudies())
    await agent.register_model({**churn, "families": ["linear"]})
    result = await agent.tune_hyperparameters("churn", trials=2)
    assert "error" not in result
    assert tracked(agent, result.process_id).succeeded is True
    assert tracked(agent, result.process_id).artifacts == {}
    (record,) = [record for record in caplog.records if record.name == "optagent.loop.train.track"]
    assert "are not drawn: RuntimeError: no ink" in record.getMessage()


async def test_an_agent_whose_tuner_keeps_nothing_says_so(agent, churn, caplog):
    await agent.register_model({**churn, "families": ["linear"]})
    result = await agent.tune_hyperparameters("churn", trials=2)
    assert "error" not in result
    with pytest.raises(InvalidRequest, match="keeps no studies"):
        await agent.studies()
    assert not [record for record in caplog.records if record.name == "optagent.loop.train.track"]
