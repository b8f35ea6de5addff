"""Files to score: what is read and written, what is refused, and that a refusal leaves nothing behind."""

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from optagent.adapters.datasets import row_output
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.domain.model import CHAMPION
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.errors import Busy, Conflict, InvalidData, InvalidRequest, NotFound, Unavailable
from optagent.loop.score import score_file
from tests.unit.loop.score.conftest import FEATURES, Scored, features_of, mixture_weights

MakeRows = Callable[..., pa.Table]
ANSWERS = ["prediction", "probability_no", "probability_yes", "version"]


@pytest.fixture
def rows(make_rows: MakeRows) -> pa.Table:
    return features_of(make_rows(50, seed=5))


async def refusal(scored: Scored, rows: Any, kind: type[Exception] = InvalidRequest, **options: Any) -> str:
    """The message of a refusal, after which there is nothing at the output's path nor beside it."""
    with pytest.raises(kind) as refused:
        await scored(rows, **options)
    assert not scored.out.exists()
    assert scored.left_behind() == []
    return str(refused.value)


async def test_order_of_columns_does_not_matter_and_further_ones_are_ignored_and_said(
    scored: Scored, rows: pa.Table
) -> None:
    _, expected = await scored(rows)
    turned = (
        rows.select([*reversed(FEATURES)]).append_column("colour", [["red"] * 50]).append_column("label", [["no"] * 50])
    )
    account, output = await scored(turned, overwrite=True)
    assert output.equals(expected)
    assert account.notes == ("columns that the model does not use are ignored: 'colour'",)


async def test_columns_that_are_asked_for_come_first_and_others_do_not(scored: Scored, rows: pa.Table) -> None:
    labelled = rows.append_column("id", pa.array(range(50))).append_column("label", [["no"] * 50])
    _, output = await scored(labelled, columns=["label", "a"])
    assert output.schema.names == ["label", "a", *ANSWERS]
    _, output = await scored(labelled, overwrite=True)
    assert output.schema.names == ["id", *ANSWERS]
    assert output["id"].to_pylist() == list(range(50))


async def test_a_column_that_is_missing_is_named(scored: Scored, rows: pa.Table) -> None:
    message = await refusal(scored, rows.drop_columns(["a", "region"]), InvalidData)
    assert message.endswith("new.parquet: the model needs columns that are missing: 'a', 'region'")


async def test_a_column_asked_for_that_is_not_there_or_is_an_answer_is_refused(scored: Scored, rows: pa.Table) -> None:
    assert "--columns: no column 'regoin'; the columns are ['region'," in await refusal(
        scored, rows, columns=["regoin"]
    )
    clash = rows.append_column("prediction", [["no"] * 50])
    assert "--columns: 'prediction' is the name of an answer" in await refusal(scored, clash, columns=["prediction"])


async def test_texts_where_numbers_are_needed_are_refused(scored: Scored, rows: pa.Table) -> None:
    message = await refusal(scored, rows.set_column(0, "a", [["much"] * 50]), InvalidData)
    assert message == "column 'a' is numeric, got values of type string"


async def test_a_row_that_breaks_a_rule_is_named_by_its_place_in_the_file(
    scored: Scored, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "MOST_ROWS", 16)
    a = np.zeros(50)
    a[35] = np.inf
    message = await refusal(scored, rows.set_column(0, "a", [a]), InvalidData)
    assert message == (
        "from row 32 on, which is row 0 here: column 'a': the number in row 3 is infinite as a 32-bit float"
    )


async def test_no_rows_give_an_empty_output_with_the_right_columns(scored: Scored, rows: pa.Table) -> None:
    _, full = await scored(rows.append_column("id", [["x"] * 50]))
    account, output = await scored(rows.append_column("id", [["x"] * 50]).slice(0, 0), overwrite=True)
    assert (account.rows, output.num_rows) == (0, 0)
    assert output.schema.equals(full.schema)
    assert account.notes[0].endswith("new.parquet: has no rows, so the output has none")


async def test_a_file_that_changes_while_it_is_read_is_refused(scored: Scored, rows: pa.Table) -> None:
    path = scored.folder / "new.csv"
    pacsv.write_csv(rows, path)
    load = scored.loader.load

    def load_and_append(*arguments: Any) -> Any:
        with path.open("a") as file:
            file.write('0.1,0.2,"north"\n')
        return load(*arguments)

    scored.loader.load = load_and_append  # type: ignore[method-assign]
    message = await refusal(scored, path, InvalidData)
    assert "new.csv: has changed while it was read (" in message
    assert message.endswith("write it under another name, and rename it when it is whole")


async def test_an_output_that_exists_is_refused_and_stays(scored: Scored, rows: pa.Table) -> None:
    await scored(rows)
    before = scored.out.read_bytes()
    with pytest.raises(InvalidRequest, match="exists already; give --overwrite to replace it, or another name"):
        await scored(rows)
    with pytest.raises(InvalidData, match="missing"):
        await scored(rows.drop_columns(["a"]), overwrite=True)
    assert scored.out.read_bytes() == before


async def test_a_scoring_that_is_stopped_leaves_nothing(
    scored: Scored, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "MOST_ROWS", 10)
    path = scored.write(features_of(make_rows(1_000, seed=5)))
    write, begun, ended = row_output.TableFile.write, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def write_and_wait(file: Any, table: pa.Table) -> None:
        write(file, table)
        loop.call_soon_threadsafe(begun.set)
        ended.wait(30)

    monkeypatch.setattr(row_output.TableFile, "write", write_and_wait)
    scoring = asyncio.create_task(scored.agent.score("churn", path, scored.out))
    await begun.wait()
    scoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scoring
    ended.set()
    await asyncio.to_thread(_wait_until, lambda: scored.left_behind() == [])
    assert not scored.out.exists()


async def test_the_input_is_never_the_output(scored: Scored, rows: pa.Table) -> None:
    path = scored.write(rows)
    link = scored.folder / "link.parquet"
    link.symlink_to(path)
    for out in (path, link):
        with pytest.raises(InvalidRequest, match="is the file that is read; write to another one"):
            await scored(path, out=out, overwrite=True)
    assert pq.read_table(path).equals(rows)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("scored.xlsx", "the name does not say the format; end it in one of"),
        ("nowhere/scored.csv", "there is no folder"),
        ("folder.csv", "is a folder, a file is needed"),
    ],
)
async def test_an_output_that_cannot_be_is_refused(scored: Scored, rows: pa.Table, name: str, rule: str) -> None:
    (scored.folder / "folder.csv").mkdir()
    assert rule in await refusal(scored, rows, out=scored.folder / name)


async def test_a_folder_that_cannot_be_written_is_refused(
    scored: Scored, rows: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)  # root may write anywhere
    assert "scored.parquet: cannot be written, nothing was: Permission denied" in await refusal(scored, rows)


async def test_a_full_disk_leaves_nothing(scored: Scored, rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk(pa.OSFile):  # type: ignore[misc]
        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(row_output.pa, "OSFile", FullDisk)
    assert "scored.parquet: the disk is full; nothing was written" in await refusal(scored, rows)


async def test_a_model_without_champion_is_told_what_makes_one(scored: Scored, rows: pa.Table) -> None:
    await scored.agent._ports.store.save_model(replace(scored.spec, model_id="new"))
    with pytest.raises(NotFound, match="new has no champion: make one by `optagent optimize new`"):
        await scored.agent.score("new", scored.write(rows), scored.out)


async def test_a_version_is_asked_alone_by_number_or_alias(scored: Scored, rows: pa.Table) -> None:
    await scored.answer_by(mixture_weights(scored.spec))
    for version, number in (("3", "3"), (CHAMPION, "1")):
        account, output = await scored(rows, version=version, overwrite=True)
        assert (account.version, set(output["version"].to_pylist())) == (number, {number})


async def test_the_routing_table_decides_and_another_champion_of_the_registry_is_said(
    scored: Scored, rows: pa.Table
) -> None:
    await scored.answer_by(champion="2")
    account, _ = await scored(rows)
    assert account.version == "2"
    assert account.notes[0].startswith(
        "version 2 answers by the routing table, as in gateways; the registry's champion"
    )


async def test_a_version_of_a_mixture_that_does_not_load_is_left_out_and_said(scored: Scored, rows: pa.Table) -> None:
    await scored.answer_by(mixture_weights(scored.spec, ("1", "2", "9")))
    account, output = await scored(rows)
    assert set(output["version"].to_pylist()) == {"mixture"}
    assert account.notes[0].startswith("version 9 cannot be loaded and is left out: ")
    assert account.notes[1] == "slot '1/4' did not answer 50 of 50 rows, and was left out of them"


async def test_csv_and_arrow_are_read_and_written_like_parquet(scored: Scored, rows: pa.Table) -> None:
    _, expected = await scored(rows)
    pacsv.write_csv(rows, scored.folder / "new.csv")
    with pa.ipc.new_file(str(scored.folder / "new.arrow"), rows.schema) as writer:
        writer.write_table(rows)
    for name in ("new.csv", "new.arrow"):
        _, output = await scored(scored.folder / name, overwrite=True)
        assert output.equals(expected)
    for name, read in (("out.csv", pacsv.read_csv), ("out.arrow", _read_arrow)):
        await scored.agent.score("churn", scored.write(rows), scored.folder / name)
        shares = read(scored.folder / name)["probability_yes"]
        assert shares.to_pylist() == expected["probability_yes"].to_pylist()


async def test_files_of_a_glob_are_scored_in_the_order_of_their_names(scored: Scored, rows: pa.Table) -> None:
    _, expected = await scored(rows)
    for number, start in enumerate((0, 20, 40)):
        scored.write(rows.slice(start, 20), f"part-{number}.parquet")
    account, output = await scored(scored.folder / "part-*.parquet", overwrite=True)
    assert account.rows == 50
    np.testing.assert_allclose(output["probability_yes"], expected["probability_yes"], rtol=1e-12)


async def test_rows_are_scored_in_tables_of_so_many_whatever_the_size_of_the_file(
    scored: Scored, make_rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "MOST_ROWS", 1_000)
    rows = features_of(make_rows(30_500, seed=3))
    in_memory: list[int] = []
    monkeypatch.setattr(score_file, "score_in_threads", _counting(score_file.score_in_threads, in_memory))
    account, output = await scored(rows)
    assert (account.rows, output.num_rows) == (30_500, 30_500)
    assert max(in_memory) <= 2 * scored.agent._ports.threads + 2


async def test_a_cluster_gives_the_same_answers(scored: Scored, make_rows: MakeRows) -> None:
    await scored.answer_by(mixture_weights(scored.spec))
    rows = features_of(make_rows(23_000, seed=3))
    _, expected = await scored(rows)
    scored.agent._ports = replace(scored.agent._ports, scoring_workers=SequentialWorkers())
    _, output = await scored(rows, overwrite=True)
    assert output.equals(expected)
    _, empty = await scored(rows.slice(0, 0), overwrite=True)
    assert empty.schema.equals(expected.schema)


def _wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def _read_arrow(path: Path) -> pa.Table:
    return pa.ipc.open_file(str(path)).read_all()


def _counting(score_in_threads: Any, in_memory: list[int]) -> Any:
    """As `score_in_threads`, with a count of the tables that were read and are not yet written."""

    def count(scorer: Any, tables: Iterator[pa.Table], threads: int) -> Any:
        read = written = 0

        def count_read() -> Iterator[pa.Table]:
            nonlocal read
            for table in tables:
                read += 1
                in_memory.append(read - written)
                yield table

        for result in score_in_threads(scorer, count_read(), threads):
            yield result
            written += 1

    return count


@pytest.fixture
def observations(scored: Scored) -> Any:
    return scored.agent._ports.require("observations")


async def test_recorded_rows_without_ids_get_new_ones_which_the_output_has(
    scored: Scored, rows: pa.Table, observations: Any
) -> None:
    account, output = await scored(rows, record=True)
    observations.drain("churn")
    [table] = observations.predictions("churn", 0.0, 1e12)
    assert account.recorded == 50
    assert output.schema.names == ["id", *ANSWERS]
    assert table["id"].to_pylist() == output["id"].to_pylist()
    assert len(set(output["id"].to_pylist())) == 50


@pytest.mark.parametrize(
    ("ids", "rule"),
    [
        ([None] * 50, "row 0: an id has 1 to 200 characters"),
        (["x", *["y"] * 49], "column 'id': 'y' stands twice"),
        ([0.5] * 50, "column 'id': a text or whole number is needed to record rows, got double"),
    ],
)
async def test_ids_that_no_row_can_be_recorded_by_are_refused_and_nothing_is_recorded(
    scored: Scored, rows: pa.Table, observations: Any, ids: list[Any], rule: str
) -> None:
    kind = pa.string() if ids[0] is None else None
    labelled = rows.append_column("id", pa.array(ids, kind))
    assert rule in await refusal(scored, labelled, InvalidData, record=True)
    assert observations.backlog("churn") == 0
    assert (await scored(labelled))[0].rows == 50


async def test_a_file_with_a_bad_row_at_its_end_records_nothing(
    scored: Scored, rows: pa.Table, observations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_file, "MOST_ROWS", 10)
    a = np.zeros(50)
    a[-1] = np.inf
    await refusal(scored, rows.set_column(0, "a", [a]), InvalidData, record=True)
    assert observations.backlog("churn") == 0


async def test_where_too_many_rows_wait_they_are_archived_first(
    scored: Scored, rows: pa.Table, observations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, refusals = observations.record, [Busy("too many wait")]

    def record_later(*arguments: Any) -> None:
        if refusals:
            raise refusals.pop()
        record(*arguments)

    monkeypatch.setattr(observations, "record", record_later)
    assert (await scored(rows, record=True))[0].recorded == 50


async def test_where_recording_fails_there_is_no_output_and_the_number_is_said(
    scored: Scored, rows: pa.Table, observations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise Unavailable("Redis does not answer")

    monkeypatch.setattr(observations, "record", refuse)
    message = await refusal(scored, rows, Unavailable, record=True)
    assert message == "0 of 50 rows are recorded, and there is no output: Redis does not answer"
    assert os.listdir(scored.folder) == ["new.parquet"]


async def test_sets_of_labels_are_texts_in_a_csv_file(scored: Scored, rows: pa.Table) -> None:
    await scored.answer_by(intervals=IntervalThresholds((1.0, 1.0, 1.0, 1.0, 1.0)))
    await scored.agent.score("churn", scored.write(rows), scored.folder / "scored.csv", interval=0.9)
    table = pacsv.read_csv(scored.folder / "scored.csv")
    assert {frozenset(json.loads(text)) for text in table["set"].to_pylist()} == {frozenset({"no", "yes"})}


@pytest.mark.parametrize("level", [0, 1, 90, float("nan"), True, "0.9"])
async def test_what_is_no_level_is_refused_before_any_work(scored: Scored, level: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"0\.5 to 0\.99"):
        await scored.agent.score("no-such-model", "no-such-file", scored.out, interval=level)


async def test_intervals_of_a_model_that_has_none_are_refused(scored: Scored, rows: pa.Table) -> None:
    await scored.answer_by()
    with pytest.raises(Conflict, match=r"churn has no intervals yet: set intervals: true in its model\.yaml"):
        await scored(rows, interval=0.9)
    assert not scored.out.exists()


async def test_a_column_that_an_interval_gives_cannot_be_carried_over(scored: Scored, rows: pa.Table) -> None:
    await scored.answer_by(intervals=IntervalThresholds((0.5, 0.6, 0.7, 0.8, 0.9)))
    with pytest.raises(InvalidRequest, match="'set' is the name of an answer"):
        await scored(rows.append_column("set", [[1] * rows.num_rows]), interval=0.9, columns=["set"])
