"""The verb that tries policies out on the past."""

from collections.abc import Sequence
from typing import Any

from optagent.agent.working import WorkingDesk
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender, contender_named
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.errors import InvalidRequest, OptAgentError

_ASKED = ("start", "step", "seed", "trials")


class BacktestVerbs(WorkingDesk):
    """Replays histories."""

    async def backtest_model(
        self,
        model_id: str,
        data: DataSource | str | None,
        label_delay: str,
        policies: Sequence[str | Contender] = ("conservative", "balanced", "aggressive"),
        **more: Any,
    ) -> BacktestResult:
        """Replays a model's history under each policy, in parallel, and says which one to take.

        `data` has rows with labels and dates; a text is a file or URI, None the model's own data. `label_delay` is how
        long after its row a label is known. `more` are the other fields of `BacktestAsk`: `start`, `step`, `seed`,
        `trials`. The answer holds each policy's runs and metric over time, its difference to doing nothing with an
        interval, and what is recommended with what confidence.
        """
        try:
            unknown = sorted(set(more) - set(_ASKED))
            if unknown:
                raise InvalidRequest(f"unknown argument {', '.join(unknown)}; one of {list(_ASKED)}")
            contenders = tuple(contender_named(one) if isinstance(one, str) else one for one in policies)
            source = FileSource(data) if isinstance(data, str) else data
            if source is None:
                source = (await self._store.model(model_id)).data
            ask = BacktestAsk(contenders, label_delay, **more)
            result: BacktestResult = await self._done(BacktestModel(model_id, source, ask))
            return result
        except OptAgentError as error:
            answer: BacktestResult = self._refused(error, BacktestResult, model_id)
            return answer
