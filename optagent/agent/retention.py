"""Retention verbs: what is older than the settings say goes, and so do the recorded rows of given ids."""

from collections.abc import Mapping, Sequence

from optagent.agent.acts import current_actor
from optagent.agent.base import AgentBase
from optagent.domain.retention import Pruning
from optagent.loop.retention import erase_rows, prune_daily, prune_models


class RetentionVerbs(AgentBase):
    """Prunes the archive, the registry and the store, and erases rows."""

    async def prune(self, dry_run: bool = False) -> tuple[Pruning, ...]:
        """Lets go of rows, versions, processes and rollouts of all models that are older than the settings say.

        With `dry_run` it only answers what would go, and why. A model that cannot be pruned is answered with its error.
        """
        return await self._acts.hold(prune_models(self._ports, str(current_actor()), dry_run))

    async def prune_once_a_day(self, who: str = "optagent") -> tuple[Pruning, ...]:
        """Prunes unless that was done on this day; to be called at any pace. Answers what went."""
        return await prune_daily(self._ports, who)

    async def erase(self, model_id: str, ids: Sequence[str]) -> Mapping[str, int]:
        """Removes every recorded prediction, label, row of evidence and training row of these ids; answers their
        numbers by kind.

        It may be repeated. Rows of these ids that come later stay. Versions that learned from the rows stay as well.
        Raises ModelNotFound, InvalidRequest without ids, and Unavailable.
        """
        return await self._acts.hold(erase_rows(model_id, ids, self._ports, str(current_actor())))
