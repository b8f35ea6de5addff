"""The verb that tries policies out on the past."""

from optagent.agent.working import WorkingDesk
from optagent.domain.backtest import BacktestAsk, BacktestResult
from optagent.domain.command import BacktestModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.errors import OptAgentError


class BacktestVerbs(WorkingDesk):
    """Replays histories."""

    async def backtest_model(self, model_id: str, data: DataSource | str, ask: BacktestAsk) -> BacktestResult:
        """Replays a model's history under each policy of the ask, in parallel, and says which one to take.

        `data` has rows with labels and dates; a text is a file or URI. The answer holds each policy's runs and metric
        over time, its difference to doing nothing with an interval, and what is recommended with what confidence.
        """
        source = FileSource(data) if isinstance(data, str) else data
        try:
            result: BacktestResult = await self._done(BacktestModel(model_id, source, ask))
            return result
        except OptAgentError as error:
            answer: BacktestResult = self._refused(error, BacktestResult, model_id)
            return answer
