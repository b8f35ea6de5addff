"""Routes: a routing table with its loaded versions, which assigns the requests of a model to an arm."""

from collections.abc import Mapping, Sequence

from optagent.domain.rollout_look import RolloutState
from optagent.domain.routing import Arm, RoutingTable
from optagent.serving.evidence_record import CANDIDATE, CHAMPION
from optagent.serving.row_reader import MOST_ROWS
from optagent.training.history.plan import HistoryPlan
from serve_app.data_plane.metrics import ModelMetrics
from serve_app.data_plane.mixture import find_mixture
from serve_app.data_plane.version import Version


class ArmAssignment:
    """The versions that answer for one arm of a table.

    `version` answers, within `budget_s` if that is set; `backup` answers where it fails. Either may be None. `role` is
    the arm's role in the rollout, "" without a rollout.
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
    """A table with its versions, none of which takes more than `most_rows` in a request.

    `share` is the chance of the rollout's candidate; `shadow` scores each request too. The `mixture` answers for the
    arm of the champion, if there is one. `plans` are those by which its versions read the past of rows.
    """

    def __init__(self, table: RoutingTable, versions: Mapping[str, Version], metrics: ModelMetrics) -> None:
        self.table = table
        self.model_id = table.model_id
        self.starts_at = table.activate_at or 0.0
        self.loaded = frozenset(versions)
        self.metrics = metrics
        self._versions = versions
        self._roles = dict(zip(table.warm, (CHAMPION, CANDIDATE), strict=False)) if table.rollout_id else {}
        self.champion = self._arm_assignment(Arm.CHAMPION, table.champion)
        self.candidate = self._arm_assignment(Arm.CANDIDATE, table.candidate) if table.candidate else None
        self.mixture = find_mixture(table.mixture, table.champion, versions)
        self.shadow = versions.get(table.shadow) if table.shadow else None
        self.share = self._candidate_share()
        plans = {name: version.model.schema.history for name, version in versions.items()}
        self.champion_plan = plans.get(table.champion)
        self.plans = tuple(dict.fromkeys(plan for plan in plans.values() if plan is not None))
        if self.plans:
            _allow_each_others_columns(versions, self.plans)
        self.most_rows = max((version.model.reader.most_rows for version in versions.values()), default=MOST_ROWS)

    def assign_arm(self, key: str) -> ArmAssignment:
        """The assignment of a sticky key to an arm."""
        candidate = self.candidate
        return candidate if candidate is not None and self.table.arm(key) is Arm.CANDIDATE else self.champion

    @property
    def is_split(self) -> bool:
        """True where both versions of a rollout answer, each for its arm."""
        return self.table.state == RolloutState.RAMP

    def version_beside(self, answering: Version) -> Version | None:
        """The version that is asked beside the one that answered, for evidence only; None for none.

        On split traffic that is the one of the two that did not answer.
        """
        if not self.is_split:
            return None if self.shadow is answering else self.shadow
        other = {CHAMPION: CANDIDATE, CANDIDATE: CHAMPION}.get(self.role_of(answering.model.version))
        return next((self._versions.get(name) for name, role in self._roles.items() if role == other), None)

    def role_of(self, version: str) -> str:
        """The role of a version in the rollout, "" for none."""
        return self._roles.get(version, "")

    def _arm_assignment(self, arm: Arm, version: str) -> ArmAssignment:
        """The backup is another version that answers for the model, or that answered before the rollout's candidate."""
        table = self.table
        proven = next((name for name, role in self._roles.items() if role == CHAMPION), None)
        others = [name for name in (table.champion, table.candidate, proven) if name is not None and name != version]
        backup = next((self._versions[name] for name in others if name in self._versions), None)
        role = self.role_of(version)
        budget_s = table.budget_ms / 1000 if role == CANDIDATE and backup is not None else None
        return ArmAssignment(arm, self._versions.get(version), backup, role, budget_s)

    def _candidate_share(self) -> float:
        """The share of the rollout's candidate, which may already be the champion of the table."""
        table = self.table
        if self.champion.role == CANDIDATE:
            return 1.0 - table.share
        return table.share


def _allow_each_others_columns(versions: Mapping[str, Version], plans: Sequence[HistoryPlan]) -> None:
    """Lets the versions of a route read rows that have the history of another one among them."""
    names = {name for plan in plans for name in (plan.key, plan.time, *plan.columns, *plan.names) if name is not None}
    for version in versions.values():
        version.model.reader.allow(names)
