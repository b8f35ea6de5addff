"""The SDK's verbs; each is a command to the loop."""

from optagent.agent.models import ModelVerbs
from optagent.agent.searching import SearchVerbs
from optagent.agent.watching import WatchVerbs


class OptimizationAgent(ModelVerbs, SearchVerbs, WatchVerbs):
    """Keeps models good. Made by `create_optimization_agent`; use it from one event loop, and close it at the end.

    A refused or failed request is an answer with an `error`, or raised where `strict`.
    """
