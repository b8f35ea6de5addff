"""Evidence records: a row for each row of a request, in the columns that a rollout is judged by."""

import numpy as np
import pyarrow as pa

from optagent.adapters.state.archive.row_types import storable_rows
from optagent.domain.model import Task
from optagent.serving.evidence_record import EvidenceRecord, count_outputs, evidence_schema, evidence_table

ONE = EvidenceRecord(
    ids=["a"],
    time=1_700_000_000.25,
    rollout="r1",
    state="shadow",
    step=0,
    arm="champion",
    share=0.0,
    unit="user 7",
    version="1",
    failed=False,
    latency_ms=1.5,
    champion=np.array([0.25]),
    candidate=np.array([0.75]),
)


def test_a_row_says_who_was_asked_and_what_each_said() -> None:
    table = evidence_table([ONE], 1)
    assert table.schema == evidence_schema(1)
    [row] = table.to_pylist()
    assert row.pop("time").timestamp() == 1_700_000_000.25
    assert row == {
        "id": "a",
        "rollout": "r1",
        "state": "shadow",
        "step": 0,
        "arm": "champion",
        "share": 0.0,
        "unit": "user 7",
        "version": "1",
        "failed": False,
        "latency_ms": 1.5,
        "champion_ms": None,
        "champion_0": 0.25,
        "candidate_0": 0.75,
    }


def test_all_rows_of_a_request_are_alike_but_for_ids_and_scores() -> None:
    three = ONE._replace(ids=["x", "y", "z"], unit="user 8", champion=np.array([0.1, 0.2, 0.3]), candidate=None)
    table = evidence_table([ONE, three, ONE], 1)
    assert table["id"].to_pylist() == ["a", "x", "y", "z", "a"]
    assert table["unit"].to_pylist() == ["user 7", *["user 8"] * 3, "user 7"]
    assert table["champion_0"].to_pylist() == [0.25, 0.1, 0.2, 0.3, 0.25]
    assert table["candidate_0"].to_pylist() == [0.75, None, None, None, 0.75]


def test_a_version_that_was_not_asked_or_failed_has_no_scores_and_no_time() -> None:
    failed = ONE._replace(failed=True, latency_ms=None, candidate=None)
    table = evidence_table([failed], 1)
    assert (table["failed"][0].as_py(), table["latency_ms"][0].as_py(), table["candidate_0"][0].as_py()) == (
        True,
        None,
        None,
    )


def test_each_class_has_a_column_where_there_are_more_than_two() -> None:
    assert count_outputs(Task.MULTICLASS, ("a", "b", "c")) == 3
    assert count_outputs(Task.BINARY, ("a", "b")) == count_outputs(Task.REGRESSION, ()) == 1
    scores = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    table = evidence_table([ONE._replace(ids=["x", "y"], champion=scores, candidate=scores[:, :2])], 3)
    assert [table[f"champion_{at}"].to_pylist() for at in range(3)] == scores.T.tolist()
    assert table["candidate_0"].null_count == 2  # scores of other classes are none


def test_evidence_is_kept_as_it_is() -> None:
    table = evidence_table([ONE], 2)
    assert storable_rows(table).schema.names == table.schema.names
    assert storable_rows(table).schema.field("step").type == pa.int32()
