"""Any crew does the work of every item on the value that it shares, and tells what went wrong."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from optagent.adapters.cluster.gateway_mark import mark_gateway
from optagent.adapters.cluster.ray_workers import RayWorkers
from optagent.adapters.in_memory.workers import SequentialWorkers
from optagent.errors import Cancelled, InvalidData, Unavailable
from optagent.ports import Workers


@pytest.fixture(scope="module", params=["in_memory", "ray"])
def workers(request: pytest.FixtureRequest) -> Workers:
    if request.param == "in_memory":
        return SequentialWorkers()
    return RayWorkers(request.getfixturevalue("ray_cluster"))


def row_sum(rows: np.ndarray, row: int, times: float = 1.0) -> float:
    return float(rows[row].sum()) * times


def refuse_second_row(rows: np.ndarray, row: int) -> float:
    if row == 1:
        raise InvalidData(f"row {row}: bad")
    return 0.0


def dies_once(folder: str, item: int) -> int:
    mark = Path(folder) / "died"
    if item == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * 10


def test_a_crew_tells_how_many_items_are_done(workers: Workers):
    told: list[int] = []
    with workers.share(np.ones((5, 2))) as crew:
        crew.map(row_sum, range(5), on_done=told.append)
    assert told == [1, 2, 3, 4, 5]


def test_a_crew_answers_every_item_in_order_call_after_call(workers: Workers):
    rows = np.arange(12.0).reshape(6, 2)
    with workers.share(rows) as crew:
        assert crew.size >= 1
        assert crew.map(row_sum, range(6)) == [float(row.sum()) for row in rows]
        assert crew.map(partial(row_sum, times=2.0), [3, 1]) == [26.0, 10.0]
        assert crew.map(row_sum, []) == []


def test_an_error_of_the_work_is_raised_as_it_is(workers: Workers):
    with workers.share(np.zeros((3, 1))) as crew, pytest.raises(InvalidData, match="row 1: bad"):
        crew.map(refuse_second_row, range(3))


def test_work_can_be_cancelled(workers: Workers):
    with workers.share(np.zeros((3, 1))) as crew, pytest.raises(Cancelled):
        crew.map(row_sum, range(3), cancelled=lambda: True)


def dies(value: object, item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_ends_its_workers_is_given_up(ray_cluster):
    with RayWorkers(ray_cluster).share(0) as crew, pytest.raises(Unavailable, match="4 workers died of the work"):
        crew.map(dies, [1])


def test_a_worker_that_dies_is_replaced_and_its_item_done_again(tmp_path: Path, ray_cluster):
    with RayWorkers(ray_cluster).share(str(tmp_path)) as crew:
        assert crew.map(dies_once, range(4)) == [0, 10, 20, 30]
    assert (tmp_path / "died").exists()


def session_of(value: object, item: int) -> tuple[bool, str]:
    group = Path("/proc/self/autogroup")
    return os.getsid(0) == os.getpid(), group.read_text() if group.exists() else ""


def test_beside_a_gateway_a_worker_gives_way_to_processes_of_other_sessions_too(ray_cluster):
    with mark_gateway(), RayWorkers(ray_cluster).share(None) as crew:
        ((own, group),) = crew.map(session_of, [0])
    if not group:
        pytest.skip("this system does not group processes by session")
    assert (own, group.split()[-2:]) == (True, ["nice", "19"])
