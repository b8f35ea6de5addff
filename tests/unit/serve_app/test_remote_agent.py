"""Remote agent: every verb that it knows by name is a verb of the agent."""

import pytest

from optagent.agent import OptimizationAgent
from serve_app import remote_agent


@pytest.mark.parametrize("verb", remote_agent._LONGER_S)
def test_a_longer_limit_is_that_of_a_verb_of_the_agent(verb: str):
    assert callable(getattr(OptimizationAgent, verb))


def test_a_longer_limit_is_longer_than_that_of_other_verbs():
    assert min(remote_agent._LONGER_S.values()) > remote_agent._LIMIT_S
