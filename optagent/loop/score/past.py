"""Past of a file's rows: the lags and rolling means that a model with a history reads, before the rows are scored."""

from collections.abc import Generator, Iterator

import pyarrow as pa

from optagent.domain.dataset import DataSource
from optagent.ports import Datasets
from optagent.training.encoding import Schema
from optagent.training.history.stream import StreamedHistory


class FilePast:
    """The history of a file, of the model's own rows and of the file's earlier ones; nothing for other models."""

    def __init__(self, schema: Schema, source: DataSource | None, datasets: Datasets) -> None:
        self._history: StreamedHistory | None = None
        plan = schema.history
        if plan is not None and source is not None:
            names = dict.fromkeys((plan.time, *((plan.key,) if plan.key else ()), *plan.columns))
            self._history = StreamedHistory(plan, datasets.read(source, list(names)))

    def extend(self, tables: Generator[pa.Table]) -> Generator[pa.Table]:
        """The tables with the columns of the history."""
        try:
            for table in tables:
                yield table if self._history is None else self._history.extend(table)
        finally:
            tables.close()

    def notes(self) -> Iterator[str]:
        """A sentence about rows that came late."""
        late = 0 if self._history is None else self._history.late
        if late:
            yield (
                f"history: {late:,} rows are older than rows before them in the file, which did not have them in their"
                " past: sort the file by time"
            )
