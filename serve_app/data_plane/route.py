"""How the requests for a model are answered: its table, with the versions that are loaded."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from optagent.domain.routing import Arm, RoutingTable
from optagent.serving.engine import ServedModel
from optagent.serving.evidence_record import CANDIDATE, CHAMPION
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.shadow import Shadow


class Version:
    """A loaded version, with a thread of its own where its engine blocks, so that it holds up nobody else."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.blocks = model.engine.blocks
        self.pool = ThreadPoolExecutor(1, "optagent-engine") if self.blocks else None
        self.shadow: Shadow | None = None

    def close(self) -> None:
        if self.shadow is not None:
            self.shadow.close()
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
        self.model.close()


class ArmAssignment:
    """What one arm of a table means.

    `version` answers, within `budget_s` if there is one, otherwise `backup` does; either may be None. `role` is the
    arm's role in the rollout, "" without one.
    """

    __slots__ = ("arm", "backup", "budget_s", "role", "version")

    def __init__(
        self, arm: Arm, version: Version | None, backup: Version | None, role: str, budget_s: float | None
    ) -> None:
        self.arm = arm
        self.version = version
        self.backup = backup
        self.role = role
        self.budget_s = budget_s


class Route:
    """A table with its versions. `share` is the chance of the rollout's candidate; `shadow` is asked as well."""

    def __init__(self, table: RoutingTable, versions: Mapping[str, Version], figures: ModelMetrics) -> None:
        self.table = table
        self.model_id = table.model_id
        self.starts_at = table.activate_at or 0.0
        self.loaded = frozenset(versions)
        self.figures = figures
        self._versions = versions
        self._roles = dict(zip(table.warm, (CHAMPION, CANDIDATE), strict=False)) if table.rollout_id else {}
        self.champion = self._draw(Arm.CHAMPION, table.champion)
        self.candidate = self._draw(Arm.CANDIDATE, table.candidate) if table.candidate else None
        self.shadow = versions.get(table.shadow) if table.shadow else None
        self.share = self._candidates_share()

    def draw(self, key: str) -> ArmAssignment:
        """Who answers for a sticky key."""
        candidate = self.candidate
        return candidate if candidate is not None and self.table.arm(key) is Arm.CANDIDATE else self.champion

    def role_of(self, version: str) -> str:
        """A version's role in the rollout, "" for none."""
        return self._roles.get(version, "")

    def _draw(self, arm: Arm, version: str) -> ArmAssignment:
        """Behind a version stand the others that answer for the model, or did before the rollout's candidate."""
        table = self.table
        proven = next((name for name, role in self._roles.items() if role == CHAMPION), None)
        others = [name for name in (table.champion, table.candidate, proven) if name is not None and name != version]
        backup = next((self._versions[name] for name in others if name in self._versions), None)
        role = self.role_of(version)
        budget_s = table.budget_ms / 1000 if role == CANDIDATE and backup is not None else None
        return ArmAssignment(arm, self._versions.get(version), backup, role, budget_s)

    def _candidates_share(self) -> float:
        """Of a table of a rollout, in which the candidate may be the table's champion already."""
        table = self.table
        if self.champion.role == CANDIDATE:
            return 1.0 - table.share
        return table.share
