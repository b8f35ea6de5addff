import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from optagent.adapters.in_memory.observations import InMemoryObservations
from optagent.adapters.state.observations import RedisObservations
from optagent.errors import Busy, InvalidData, InvalidRequest, NotFound
from optagent.ports import Observations, RecordKind

NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z
DAY = 86_400.0
PREDICTIONS, LABELS = RecordKind.PREDICTIONS, RecordKind.LABELS
EVIDENCE, LEARNED = RecordKind.EVIDENCE, RecordKind.LEARNED

Make = Callable[..., Observations]


@pytest.fixture(params=["in_memory", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the port with settings of its own; the queue and archive are empty."""
    made: list[Observations] = []

    def in_memory(**settings: Any) -> Observations:
        return InMemoryObservations(**settings)

    def on_redis(**settings: Any) -> Observations:
        server = request.getfixturevalue("embedded_redis")
        made.append(RedisObservations(server.url, tmp_path, prefix=f"test-{secrets.token_hex(4)}", **settings))
        return made[-1]

    yield in_memory if request.param == "in_memory" else on_redis
    for observations in made:
        observations.close()


@pytest.fixture
def observations(make: Make) -> Observations:
    return make()


def rows(ids: Sequence[str], times: Sequence[float] | float = NOON, **columns: Any) -> pa.Table:
    at = [times] * len(ids) if isinstance(times, float) else times
    micros = pa.array([round(time * 1e6) for time in at], pa.int64()).cast(pa.timestamp("us", "UTC"))
    return pa.table({"id": pa.array(ids, pa.large_string()), "time": micros, **columns})


def ids(tables: Sequence[pa.Table]) -> list[str]:
    return sorted(item for table in tables for item in table["id"].to_pylist())


def everything(observations: Observations, model_id: str = "churn") -> list[pa.Table]:
    return observations.predictions(model_id, float("-inf"), float("inf"))


def test_a_port_that_works_checks_out(observations):
    observations.check()


def test_recorded_rows_wait_until_they_are_drained(observations):
    observations.record("churn", PREDICTIONS, rows(["a", "b"]))
    assert observations.backlog("churn") == 2
    assert everything(observations) == []
    assert observations.latest_prediction_time("churn") is None
    assert observations.drain("churn") == 2
    assert observations.backlog("churn") == 0
    assert ids(everything(observations)) == ["a", "b"]
    assert observations.drain("churn") == 0


def test_an_unknown_model_has_nothing(observations):
    assert observations.backlog("churn") == 0
    assert observations.drain("churn") == 0
    assert everything(observations) == []
    assert observations.labels("churn", 0.0) == []
    assert observations.latest_prediction_time("churn") is None


def test_every_type_of_column_comes_back_as_it_was(observations):
    table = rows(
        ["a", "b", "c"],
        number=[1.5, float("nan"), float("inf")],
        whole=pa.array([1, None, -3], pa.int64()),
        small=pa.array([1, None, 3], pa.uint8()),
        flag=[True, None, False],
        text=pa.array(["x", "", "é\n\x00"], pa.large_string()),
        none=pa.nulls(3),
        day=pa.array([0, None, 19_000], pa.date32()),
        local=pa.array([0, None, 1], pa.timestamp("ns", "Europe/Berlin")),
    )
    observations.record("churn", PREDICTIONS, table)
    observations.drain("churn")
    (found,) = everything(observations)
    assert found.schema.equals(table.schema)
    assert found.drop(["number"]).equals(table.drop(["number"]))
    assert str(found["number"].to_pylist()) == "[1.5, nan, inf]"


def test_texts_and_dates_of_other_widths_and_metadata_are_made_one(observations):
    for texts in (pa.array(["x"]), pa.array(["x"], pa.string_view()), pa.array(["x"]).dictionary_encode()):
        at = pa.array([1_700_000_000], pa.timestamp("s"))
        table = rows(["a"], text=texts, at=at).replace_schema_metadata({"pandas": "{}"})
        observations.record("churn", PREDICTIONS, table)
    observations.drain("churn")
    (found,) = everything(observations)
    assert found.schema.field("text").type == pa.large_string()
    assert found.schema.field("at").type == pa.timestamp("ms")
    assert found.schema.metadata is None
    assert found.num_rows == 3


def test_rows_of_other_types_come_as_tables_of_their_own_and_other_orders_do_not(observations):
    observations.record("churn", PREDICTIONS, rows(["a"], x=[1.0], y=["t"]))
    observations.record("churn", PREDICTIONS, rows(["b"], x=["one"], y=["t"]))
    observations.record("churn", PREDICTIONS, rows(["c"], y=["u"], x=[2.0]))
    observations.record("churn", PREDICTIONS, rows(["d"]))
    observations.drain("churn")
    found = {tuple(ids([table])): table for table in everything(observations)}
    assert set(found) == {("a", "c"), ("b",), ("d",)}
    assert dict(zip(*(found["a", "c"][name].to_pylist() for name in ("id", "x")), strict=True)) == {"a": 1.0, "c": 2.0}


def test_duplicates_are_kept_as_they_were_told(observations):
    for _ in range(2):
        observations.record("churn", PREDICTIONS, rows(["a", "a"]))
    observations.drain("churn")
    assert ids(everything(observations)) == ["a"] * 4


def test_rows_are_found_by_time_from_the_start_up_to_the_end(observations):
    times = [NOON - DAY, NOON - 1e-6, NOON, NOON + 0.5, NOON + 1, NOON + 3 * DAY]
    observations.record("churn", PREDICTIONS, rows(list("abcdef"), times))
    observations.drain("churn")
    assert ids(observations.predictions("churn", NOON, NOON + 1)) == ["c", "d"]
    assert ids(observations.predictions("churn", NOON - 1e-6, NOON)) == ["b"]
    assert ids(observations.predictions("churn", NOON - DAY, NOON + 3 * DAY)) == list("abcde")
    assert observations.predictions("churn", NOON + 2, NOON + DAY) == []
    assert observations.latest_prediction_time("churn") == NOON + 3 * DAY


def test_rows_of_before_1970_and_of_the_far_future_are_kept(observations):
    times = [-1e9, 0.0, 2.5e11]
    observations.record("churn", PREDICTIONS, rows(list("abc"), times))
    observations.drain("churn")
    assert ids(everything(observations)) == list("abc")
    assert ids(observations.predictions("churn", -1e9, 0.0)) == ["a"]


def test_predictions_and_labels_and_models_are_kept_apart(observations):
    observations.record("churn", PREDICTIONS, rows(["p"]))
    observations.record("churn", LABELS, rows(["l"], [NOON + DAY], label=["yes"]))
    observations.record("fraud.v2", PREDICTIONS, rows(["q"]))
    assert observations.drain("churn") == 2
    assert observations.backlog("fraud.v2") == 1
    observations.drain("fraud.v2")
    assert ids(everything(observations)) == ["p"]
    assert ids(everything(observations, "fraud.v2")) == ["q"]
    assert ids(observations.labels("churn", 0.0)) == ["l"]
    assert ids(observations.labels("churn", NOON + DAY)) == ["l"]
    assert observations.labels("churn", NOON + DAY + 1) == []
    assert observations.latest_prediction_time("churn") == NOON


def test_evidence_is_found_by_time_and_kept_apart(observations):
    evidence = rows(["e", "f"], [NOON, NOON + DAY], rollout=["r1", "r1"], failed=[False, True], candidate_0=[0.5, None])
    observations.record("churn", EVIDENCE, evidence)
    observations.record("churn", PREDICTIONS, rows(["p"]))
    observations.record("churn", LABELS, rows(["l"]))
    observations.record("fraud", EVIDENCE, rows(["g"]))
    assert observations.evidence("churn", 0.0) == []
    assert observations.drain("churn") == 4
    (found,) = observations.evidence("churn", NOON)
    assert found.sort_by("id").to_pylist() == evidence.to_pylist()
    assert ids(observations.evidence("churn", NOON + 1e-6)) == ["f"]
    assert observations.evidence("fraud", 0.0) == []
    assert ids(everything(observations)) == ["p"]
    assert observations.latest_prediction_time("churn") == NOON


def test_learned_rows_are_found_by_time_bit_for_bit_and_kept_apart(observations):
    said = [0.1 + 0.2, float("nan"), 5e-324, -0.0]
    table = rows(list("abcd"), [NOON - DAY, NOON, NOON + 1, NOON + DAY], outcome=[1.0, 0.0, 1.0, 0.0], said_0=said)
    observations.record("churn", LEARNED, table)
    observations.record("churn", PREDICTIONS, rows(["e"]))
    assert observations.learned_rows("churn", 0.0) == []
    observations.drain("churn")
    assert ids(observations.learned_rows("churn", NOON)) == ["b", "c", "d"]
    assert ids(observations.learned_rows("churn", NOON + DAY + 1)) == []
    assert ids(everything(observations)) == ["e"]
    (found,) = observations.learned_rows("churn", float("-inf"))
    assert found["said_0"].to_numpy().tobytes() == table["said_0"].to_numpy().tobytes()
    assert observations.learned_rows("other", 0.0) == []


def test_learned_rows_are_pruned_and_erased(observations):
    observations.record("churn", LEARNED, rows(["a", "b"], outcome=[1.0, 0.0]))
    observations.drain("churn")
    observations.record("churn", LEARNED, rows(["a", "c"], outcome=[1.0, 0.0]))
    assert observations.erase("churn", ["a"]) == {"learned": 2}
    assert ids(observations.learned_rows("churn", 0.0)) == ["b", "c"]
    now = time.time()
    assert observations.prune("churn", now - 60) == {}
    assert observations.prune("churn", now + 60, dry_run=True) == {"learned": 2}
    assert observations.prune("churn", now + 60) == {"learned": 2}
    assert observations.learned_rows("churn", 0.0) == []


def test_too_many_waiting_rows_are_refused_with_the_numbers_and_nothing_is_lost(make):
    observations = make(max_backlog=10)
    observations.record("churn", PREDICTIONS, rows([str(number) for number in range(8)]))
    with pytest.raises(Busy, match=r"churn: 8 rows .* 3 more .* 10 rows"):
        observations.record("churn", PREDICTIONS, rows(["x", "y", "z"]))
    observations.record("churn", PREDICTIONS, rows(["8", "9"]))
    observations.record("fraud", PREDICTIONS, rows(["of another model"]))
    assert observations.backlog("churn") == 10
    assert observations.drain("churn") == 10
    observations.record("churn", PREDICTIONS, rows(["x", "y", "z"]))
    assert observations.drain("churn") == 3
    assert len(ids(everything(observations))) == 13


def test_an_empty_queue_takes_a_call_of_any_size(make):
    observations = make(max_backlog=10)
    observations.record("churn", PREDICTIONS, rows([str(number) for number in range(1000)]))
    assert observations.backlog("churn") == observations.drain("churn") == 1000


def test_a_call_that_is_moved_in_parts_is_moved_whole(observations):
    names = [f"{number:0300d}" for number in range(30_000)]
    observations.record("churn", PREDICTIONS, rows(names))
    assert observations.backlog("churn") == 30_000
    moved = 0
    while part := observations.drain("churn", most=5000):
        moved += part
        assert observations.backlog("churn") == 30_000 - moved
    assert ids(everything(observations)) == names


def test_drain_stops_after_the_call_that_reaches_the_most(observations):
    for number in range(5):
        observations.record("churn", PREDICTIONS, rows([f"{number}a", f"{number}b"]))
    assert observations.drain("churn", most=3) == 4
    assert observations.backlog("churn") == 6
    assert observations.drain("churn") == 6
    assert len(ids(everything(observations))) == 10


def test_no_rows_are_nothing_to_record(observations):
    observations.record("churn", PREDICTIONS, rows([]))
    assert observations.backlog("churn") == 0
    assert observations.drain("churn") == 0


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        (pa.table({"id": ["a"]}), "id and time are needed"),
        (pa.table({"time": pa.array([0], pa.timestamp("us"))}), "id and time are needed"),
        (pa.table([["a"], ["b"]], names=["id", "id"]), "no name twice"),
        (rows(["a"]).set_column(1, "time", [["now"]]), "a timestamp is needed"),
        (rows(["a"]).set_column(1, "time", pa.nulls(1, pa.timestamp("us"))), "'time': 1 rows without a value"),
        (pa.table({"id": pa.nulls(1, pa.string()), "time": pa.array([0], pa.timestamp("us"))}), "'id': 1 rows without"),
        (pa.table({"id": [1.5], "time": pa.array([0], pa.timestamp("us"))}), "a text is needed"),
        (pa.table({"id": ["a"], "time": pa.array([2**60], pa.timestamp("s"))}), "out of bounds"),
        (rows(["a"], nested=[[1, 2]]), "'nested'.*cannot be kept"),
        (rows(["a"], binary=[b"\x00"]), "'binary'.*cannot be kept"),
    ],
)
def test_rows_that_cannot_be_kept_are_refused_before_they_wait(observations, table, rule):
    with pytest.raises(InvalidData, match=rule):
        observations.record("churn", PREDICTIONS, table)
    assert observations.backlog("churn") == 0


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "/etc", "", ".hidden", "a\x00", "x" * 101])
def test_names_that_could_leave_their_folder_are_refused(observations, name):
    verbs: list[Callable[[], object]] = [
        lambda: observations.record(name, PREDICTIONS, rows(["a"])),
        lambda: observations.backlog(name),
        lambda: observations.drain(name),
        lambda: everything(observations, name),
        lambda: observations.labels(name, 0.0),
        lambda: observations.latest_prediction_time(name),
        lambda: observations.save_reference(name, "1", b""),
        lambda: observations.reference("churn", name),
        lambda: observations.save_reference("churn", name, b""),
    ]
    for verb in verbs:
        with pytest.raises(InvalidRequest):
            verb()


def test_an_instant_that_is_no_number_is_refused(observations):
    with pytest.raises(InvalidRequest, match="nan"):
        observations.predictions("churn", float("nan"), NOON)


def test_a_reference_reads_back_and_is_replaced(observations):
    with pytest.raises(NotFound, match="churn version 3"):
        observations.reference("churn", "3")
    observations.save_reference("churn", "3", b"old")
    observations.save_reference("churn", "3", b"new\x00")
    observations.save_reference("churn", "4", b"")
    assert observations.reference("churn", "3") == b"new\x00"
    assert observations.reference("churn", "4") == b""
    with pytest.raises(NotFound):
        observations.reference("fraud", "3")


def test_many_threads_record_and_drain_and_every_row_is_there_once(observations):
    def record(writer: int) -> None:
        for call in range(20):
            observations.record("churn", PREDICTIONS, rows([f"{writer}-{call}-{row}" for row in range(10)]))

    writers = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    moved: list[int] = []

    def drain() -> None:
        while any(writer.is_alive() for writer in writers) or observations.backlog("churn"):
            moved.append(observations.drain("churn"))

    drainers = [threading.Thread(target=drain) for _ in range(2)]
    for thread in (*writers, *drainers):
        thread.start()
    for thread in (*writers, *drainers):
        thread.join()
    assert sum(moved) == 800
    expected = sorted(f"{writer}-{call}-{row}" for writer in range(4) for call in range(20) for row in range(10))
    assert ids(everything(observations)) == expected


def test_matured_rows_are_kept_by_day_and_replaced(observations):
    first, second, anew = (
        pa.table({"id": names, "y": [1.0] * len(names)}) for names in (["a"], ["b", "c"], ["a", "d"])
    )
    observations.save_matured("churn", "2024-01-02", second)
    observations.save_matured("churn", "2024-01-01", first)
    observations.save_matured("churn", "2024-01-01", anew)
    assert [table.to_pydict() for table in observations.matured("churn")] == [anew.to_pydict(), second.to_pydict()]
    assert [table.num_rows for table in observations.matured("churn", since="2024-01-02")] == [2]
    assert observations.matured("other") == []


def test_rows_are_pruned_by_the_time_at_which_they_came_whatever_their_own(observations):
    observations.record("churn", PREDICTIONS, rows(["p", "q"], [NOON, 2.5e11]))
    observations.record("churn", LABELS, rows(["p"], label=["yes"]))
    observations.record("churn", EVIDENCE, rows(["p"]))
    observations.record("other", PREDICTIONS, rows(["p"]))
    for model_id in ("churn", "other"):
        observations.drain(model_id)
    now = time.time()
    assert observations.prune("churn", now - 60) == {}
    assert len(ids(everything(observations))) == 2
    assert observations.prune("churn", now + 60, dry_run=True) == {"predictions": 2, "evidence": 1}
    assert len(ids(everything(observations))) == 2
    assert observations.prune("churn", now + 60) == {"predictions": 2, "evidence": 1}
    assert observations.prune("churn", now + DAY + 60) == {"labels": 1}
    assert everything(observations) == observations.labels("churn", 0.0) == observations.evidence("churn", 0.0) == []
    assert observations.latest_prediction_time("churn") is None
    assert ids(everything(observations, "other")) == ["p"]
    observations.record("churn", PREDICTIONS, rows(["r"]))
    observations.drain("churn")
    assert ids(everything(observations)) == ["r"]


def test_training_rows_are_pruned_by_their_day_and_only_where_that_is_asked_for(observations):
    for day in ("2023-11-13", "2023-11-14", "2023-11-15"):
        observations.save_matured("churn", day, pa.table({"id": [day], "y": [1.0]}))
    assert observations.prune("churn", NOON) == {}
    assert observations.prune("churn", NOON, training_before=NOON, dry_run=True) == {"matured": 2}
    assert observations.prune("churn", NOON, training_before=NOON) == {"matured": 2}
    assert [table["id"].to_pylist() for table in observations.matured("churn")] == [["2023-11-15"]]


def test_rows_that_wait_are_not_pruned(observations):
    observations.record("churn", PREDICTIONS, rows(["a"]))
    assert observations.prune("churn", time.time() + 60) == {}
    assert observations.drain("churn") == 1


def test_erased_ids_are_gone_from_every_kind_of_rows_waiting_or_archived(observations):
    for kind in (PREDICTIONS, LABELS, EVIDENCE):
        observations.record("churn", kind, rows(["a", "b", "a"], x=[1.0, 2.0, 3.0]))
    observations.drain("churn")
    observations.record("churn", PREDICTIONS, rows(["a", "c"], x=[4.0, 5.0]))
    observations.record("other", PREDICTIONS, rows(["a"]))
    observations.save_matured("churn", "2023-11-15", pa.table({"id": ["a", "b"], "y": [1.0, 2.0]}))
    counts = observations.erase("churn", ["a", "unknown"])
    assert counts == {"predictions": 3, "labels": 2, "evidence": 2, "matured": 1}
    assert observations.backlog("churn") == 0
    assert ids(everything(observations)) == ["b", "c"]
    assert ids(observations.labels("churn", 0.0)) == ids(observations.evidence("churn", 0.0)) == ["b"]
    assert [table["id"].to_pylist() for table in observations.matured("churn")] == [["b"]]
    assert observations.erase("churn", ["a"]) == {}
    assert observations.erase("churn", []) == {}
    observations.drain("other")
    assert ids(everything(observations, "other")) == ["a"]


def test_ids_are_erased_while_others_record_and_drain(observations):
    done = threading.Event()

    def record() -> None:
        for call in range(40):
            observations.record("churn", PREDICTIONS, rows([f"{call}-{row}" for row in range(5)]))
        done.set()

    def drain() -> None:
        while not done.is_set() or observations.backlog("churn"):
            observations.drain("churn")

    observations.record("churn", PREDICTIONS, rows(["gone", "stays"]))
    threads = [threading.Thread(target=work) for work in (record, drain)]
    for thread in threads:
        thread.start()
    assert observations.erase("churn", ["gone"]) == {"predictions": 1}
    for thread in threads:
        thread.join()
    expected = sorted(["stays", *(f"{call}-{row}" for call in range(40) for row in range(5))])
    assert ids(everything(observations)) == expected


def test_a_dropped_reference_is_not_found(observations):
    observations.save_reference("churn", "3", b"reference")
    observations.drop_reference("churn", "3")
    observations.drop_reference("churn", "3")
    with pytest.raises(NotFound):
        observations.reference("churn", "3")
