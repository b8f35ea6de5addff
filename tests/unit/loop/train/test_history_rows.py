"""History in training: lags are computed before rows are split, and live rows keep those that they were answered by."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from optagent.adapters.in_memory.datasets import InMemoryDatasets
from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.domain.dataset import FileSource
from optagent.domain.history import HistorySpec
from optagent.domain.model import ModelSpec, Task
from optagent.domain.slot import parse_slot
from optagent.loop.train.prepare import prepare
from optagent.loop.train.refit import prepare_refit, prepare_slot
from optagent.loop.train.training_rows import TrainingRows, read_training_rows

COUNT = 600
SPEC = ModelSpec(
    "sales", Task.REGRESSION, FileSource("rows"), "sold", time_column="day", folds=2, history=HistorySpec(lags=(1,))
)
NAMES = ("price", "price lag 1", "time since the row before")


def days(start: int, count: int) -> pa.Array:
    return pa.array((np.arange(start, start + count) * 86_400_000_000).astype("datetime64[us]"))


def own_rows() -> pa.Table:
    """Rows of a day each; what is sold follows the price of the day before."""
    price = np.random.default_rng(0).normal(size=COUNT)
    gaps = np.cumsum(1 + np.arange(COUNT) % 2)
    times = pa.array((gaps * 86_400_000_000).astype("datetime64[us]"))
    return pa.table({"day": times, "price": price, "sold": np.r_[0.0, price[:-1]]})


def training_rows(*live: pa.Table) -> TrainingRows:
    observations = InMemoryObservations()
    for rows in live:
        observations.save_matured("sales", rows["day"][0].as_py().strftime("%Y-%m-%d"), rows)
    return read_training_rows(SPEC, InMemoryDatasets({"rows": own_rows()}), observations, 2e9)


def test_the_first_row_of_the_holdout_knows_the_last_one_of_development():
    prepared = prepare(SPEC, InMemoryDatasets({"rows": own_rows()}))
    assert prepared.schema.names == NAMES
    lag = np.concatenate([prepared.problem.data.x[:, 1], prepared.holdout.x[:, 1]])
    y = np.concatenate([prepared.problem.data.y, prepared.holdout.y])
    np.testing.assert_array_equal(lag[1:], y[1:].astype(np.float32))
    assert np.isnan(lag[0])


def test_a_refit_and_a_slot_have_the_same_past_as_the_version_that_was_judged():
    rows = training_rows()
    judged = rows.prepare(seed=0)
    for again in (prepare_refit(rows, judged, "expanding", "1"), prepare_slot(rows, judged, parse_slot("1/2"))):
        data = again.problem.data
        assert data.names == NAMES
        lag, y = data.x[-300:, 1], data.y[-300:].astype(np.float32)
        np.testing.assert_array_equal(lag[np.isfinite(lag)], y[np.isfinite(lag)])
        assert np.isfinite(data.x[-300:, 1]).all()


def test_live_rows_keep_the_history_that_they_were_answered_by_and_get_what_they_lack():
    recorded = pa.table(
        {
            "id": ["a", "b"],
            "day": days(2000, 2).cast(pa.timestamp("us", "UTC")),
            "price": [1.0, 2.0],
            "price lag 1": [77.0, None],
            "sold": [0.0, 0.0],
        }
    )
    table = training_rows(recorded).table
    assert table["price lag 1"].to_pylist()[-2:] == [77.0, 1.0]
    older = recorded.drop_columns(["price lag 1"])
    assert training_rows(older).table["price lag 1"].to_pylist()[-2:] == [own_rows()["price"][-1].as_py(), 1.0]


def test_a_shuffled_target_gains_nothing_from_history():
    rows = own_rows()
    shuffled = rows.set_column(2, "sold", pa.array(np.random.default_rng(1).permutation(rows["sold"].to_numpy())))
    prepared = prepare(SPEC, InMemoryDatasets({"rows": shuffled}))
    data = prepared.problem.data
    assert abs(np.corrcoef(data.x[1:, 1], data.y[1:])[0, 1]) < 0.15
    plain = prepare(replace(SPEC, history=None), InMemoryDatasets({"rows": shuffled}))
    assert len(plain.problem.folds) == len(prepared.problem.folds)
    np.testing.assert_array_equal(plain.holdout.y, prepared.holdout.y)
