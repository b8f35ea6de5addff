import numpy as np
import pyarrow as pa
import pytest

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.domain.monitoring import Window
from optagent.loop.observe.labelled_rows import DAY_S, labelled_rows, store_labelled_rows
from optagent.loop.observe.record import checked_labels, checked_predictions
from optagent.ports import RecordKind
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema

SPEC = ModelSpec("churn", Task.BINARY, FileSource("rows.parquet"), "churned", time_column="day")
SCHEMA = Schema(
    (
        FeatureColumn("age", Kind.NUMERIC),
        FeatureColumn("region", Kind.CATEGORICAL, ("north", "south")),
        FeatureColumn("member", Kind.BOOLEAN),
        FeatureColumn("joined", Kind.DATETIME),
    ),
    "churned",
    Task.BINARY,
    ("no", "yes"),
)
START = 19_700 * DAY_S
WINDOW = Window(START, START + 2 * DAY_S)


def record_rows(*batches: list[dict], labels: list[dict]) -> InMemoryObservations:
    observations = InMemoryObservations()
    for batch in batches:
        observations.record("churn", RecordKind.PREDICTIONS, checked_predictions(batch, SPEC, 0.0))
    observations.record("churn", RecordKind.LABELS, checked_labels(labels, SPEC, START + 5 * DAY_S))
    observations.drain("churn")
    return observations


def row(number: int, **changes) -> dict:
    features = {"age": 40.0 + number, "region": "north", "member": True, "joined": "2020-01-31"}
    return {"id": f"r{number}", "day": START + number * 3600, "prediction": "no", **features, **changes}


def label(number: int, value: str = "yes", **outcomes) -> dict:
    return {"id": f"r{number}", "label": value, **outcomes}


def test_only_labelled_rows_mature_each_once_in_order_of_time():
    first, second = [row(3), row(1)], [row(2), row(1), row(4)]
    observations = record_rows(first, second, labels=[label(1), label(2, "no"), label(3), label(3)])
    rows = labelled_rows(observations, SPEC, SCHEMA, WINDOW)
    assert rows["id"].to_pylist() == ["r1", "r2", "r3"]
    assert rows["churned"].to_pylist() == ["yes", "no", "yes"]
    assert rows["age"].to_pylist() == [41.0, 42.0, 43.0]


def test_features_have_the_types_of_the_schema_whatever_they_came_as():
    odd = row(2, age="43.5", region="west", member="true", joined="2021-06-01T12:00:00")
    rows = labelled_rows(record_rows([row(1)], [odd], labels=[label(1), label(2)]), SPEC, SCHEMA, WINDOW)
    assert rows.schema.field("age").type == pa.float64()
    assert rows["age"].to_pylist() == [41.0, 43.5]
    assert rows["region"].to_pylist() == ["north", "west"]  # unknown so far: the next version may learn it
    assert rows["member"].to_pylist() == [True, True]
    assert [str(value) for value in rows["joined"].to_pylist()] == [
        "2020-01-31 00:00:00+00:00",
        "2021-06-01 12:00:00+00:00",
    ]


def test_what_cannot_be_read_is_missing():
    bad = row(1, age="old", member="perhaps")
    del bad["region"]
    rows = labelled_rows(record_rows([bad], labels=[label(1)]), SPEC, SCHEMA, WINDOW)
    assert [rows[name].to_pylist() for name in ("age", "region", "member")] == [[None], [None], [None]]
    infinite = record_rows([row(1, age=np.inf)], labels=[label(1)])
    assert labelled_rows(infinite, SPEC, SCHEMA, WINDOW)["age"].to_pylist() == [None]


def test_outcomes_come_along():
    observations = record_rows([row(1), row(2)], labels=[label(1, profit=2.5), label(2)])
    assert labelled_rows(observations, SPEC, SCHEMA, WINDOW)["profit"].to_pylist() == [2.5, None]


def test_each_day_is_kept_for_itself_and_a_late_label_replaces_it():
    observations = record_rows([row(1), row(2), row(30)], labels=[label(1), label(30)])
    assert store_labelled_rows(observations, SPEC, SCHEMA, WINDOW) == 2
    assert [table["id"].to_pylist() for table in observations.matured("churn")] == [["r1"], ["r30"]]
    observations.record("churn", RecordKind.LABELS, checked_labels([label(2)], SPEC, START + 9 * DAY_S))
    observations.drain("churn")
    store_labelled_rows(observations, SPEC, SCHEMA, WINDOW)
    assert [table["id"].to_pylist() for table in observations.matured("churn")] == [["r1", "r2"], ["r30"]]
    assert len(observations.matured("churn", since="2023-12-10")) == 1


@pytest.mark.parametrize("labels", [[label(9)]])
def test_a_day_without_labelled_rows_leaves_nothing(labels):
    observations = record_rows([row(1)], labels=labels)
    assert store_labelled_rows(observations, SPEC, SCHEMA, WINDOW) == 0
    assert observations.matured("churn") == []


def test_a_column_that_the_champion_left_out_comes_along():
    rows = labelled_rows(
        record_rows([row(1, price=1.5, place="here")], [row(2)], labels=[label(1), label(2)]), SPEC, SCHEMA, WINDOW
    )
    assert rows["price"].to_pylist() == [1.5, None]
    assert rows["place"].to_pylist() == ["here", None]
    assert set(rows.schema.names) == {"id", "day", *SCHEMA.names, "churned", "price", "place"}
