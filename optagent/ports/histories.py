"""History port: the newest rows of each customer's or machine's series, which served rows get their past from."""

from collections.abc import Sequence
from typing import Protocol

from optagent.training.history.plan import HistoryPlan
from optagent.training.history.state import Past, PastRow


class Histories(Protocol):
    """Keeps some rows of each series of a model's plan; the series that were written longest ago go first.

    The series of a plan without a key is named "".
    """

    async def pasts(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, float]]) -> list[Past]:
        """The past of each row, given its series and its time; raises Unavailable, without trying again."""
        ...

    async def keep(self, model_id: str, plan: HistoryPlan, rows: Sequence[tuple[str, PastRow]]) -> None:
        """Adds rows to their series, each id once; raises Unavailable."""
        ...

    async def is_seeded(self, model_id: str, plan: HistoryPlan) -> bool:
        """True once `mark_seeded` was called for the plan, and its series are kept."""
        ...

    async def mark_seeded(self, model_id: str, plan: HistoryPlan) -> None:
        """Notes that the rows of the model's data are kept."""
        ...

    async def close(self) -> None: ...
