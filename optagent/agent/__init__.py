"""Python SDK: an agent composed of groups of verbs, each of which calls the loop."""

from optagent.agent.audit import AuditVerbs
from optagent.agent.fleet import FleetVerbs
from optagent.agent.mixtures import MixtureVerbs
from optagent.agent.models import ModelVerbs
from optagent.agent.monitoring import MonitoringVerbs
from optagent.agent.notifications import NotificationVerbs
from optagent.agent.optimization import OptimizationVerbs
from optagent.agent.pages import PageVerbs
from optagent.agent.processes import ProcessVerbs
from optagent.agent.retention import RetentionVerbs
from optagent.agent.rollouts import RolloutVerbs
from optagent.agent.scoring import ScoringVerbs
from optagent.agent.tokens import TokenVerbs
from optagent.loop.commands import Command

__all__ = ["Command", "OptimizationAgent"]


class OptimizationAgent(
    AuditVerbs,
    FleetVerbs,
    MixtureVerbs,
    ModelVerbs,
    MonitoringVerbs,
    NotificationVerbs,
    OptimizationVerbs,
    PageVerbs,
    ProcessVerbs,
    RetentionVerbs,
    RolloutVerbs,
    ScoringVerbs,
    TokenVerbs,
):
    """All verbs of the SDK. Made by `create_optimization_agent`; use it from one event loop, and close it at the end.

    A refused or failed request is answered with an `error`, or raised where the agent is `strict`.
    """
