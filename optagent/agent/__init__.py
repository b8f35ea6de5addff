"""The SDK's verbs; each is a command to the loop."""

from optagent.agent.backtesting import BacktestVerbs
from optagent.agent.building import BuildVerbs
from optagent.agent.models import ModelVerbs
from optagent.agent.notifying import NotifyVerbs
from optagent.agent.optimizing import OptimizeVerbs
from optagent.agent.pages import PageVerbs
from optagent.agent.replaying import ReplayVerbs
from optagent.agent.rollouts import RolloutVerbs
from optagent.agent.running import RunningVerbs
from optagent.agent.submitting import SubmitVerbs
from optagent.agent.working import Command

__all__ = ["Command", "OptimizationAgent"]


class OptimizationAgent(
    OptimizeVerbs,
    BacktestVerbs,
    BuildVerbs,
    ModelVerbs,
    NotifyVerbs,
    PageVerbs,
    ReplayVerbs,
    RolloutVerbs,
    RunningVerbs,
    SubmitVerbs,
):
    """Keeps models good. Made by `create_optimization_agent`; use it from one event loop, and close it at the end.

    A refused or failed request is an answer with an `error`, or raised where `strict`.
    """
