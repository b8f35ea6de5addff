"""The count of labelled rows since a time: to the row on its day, by whole days after it."""

import pyarrow as pa
import pytest

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.loop.observe.labelled_rows import DAY_S, count_labelled_rows

MODEL = ModelSpec("churn", Task.BINARY, FileSource("rows"), "label")


def stored_days(days: int, rows: int = 4) -> InMemoryObservations:
    """Rows every six hours of the first days of 1970."""
    observations = InMemoryObservations()
    for day in range(days):
        seconds = [day * DAY_S + row * DAY_S / rows for row in range(rows)]
        times = pa.array([round(second * 1e6) for second in seconds], pa.int64()).cast(pa.timestamp("us", "UTC"))
        observations.save_matured("churn", f"1970-01-{day + 1:02d}", pa.table({"time": times}))
    return observations


@pytest.mark.parametrize(
    ("since", "count"), [(0.0, 20), (-5.0, 20), (0.5, 19), (DAY_S, 16), (1.5 * DAY_S, 14), (4.9 * DAY_S, 0), (9e9, 0)]
)
def test_rows_from_an_instant_on_are_counted_to_the_row(since: float, count: int) -> None:
    assert count_labelled_rows(stored_days(5), MODEL, since) == count


def test_a_day_without_rows_does_not_hide_the_days_after_it() -> None:
    observations = stored_days(5)
    observations.save_matured("churn", "1970-01-02", pa.table({"time": pa.array([], pa.timestamp("us", "UTC"))}))

    assert count_labelled_rows(observations, MODEL, DAY_S) == 12
