"""Runners of queued processes as Ray actors."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from optagent.adapters.cluster.ray_launcher import RayLauncher
from optagent.errors import Conflict
from tests.fakes.launcher import InMemoryLauncher

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module


class WritingAgent:
    """Runs a process by a line in a file, and fails those that are told to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run_queued(self, process_id: str) -> None:
        import asyncio

        with (self._folder / process_id).open("a") as file:
            file.write("ran\n")
        await asyncio.sleep(0.5)
        if process_id.startswith("taken"):
            raise Conflict("another has it")

    async def close(self) -> None:
        (self._folder / "closed").touch()


async def writing_agent(folder: Path) -> WritingAgent:
    return WritingAgent(folder)


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    give_up = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def runners() -> list[str]:
    listed = ray.util.list_named_actors(all_namespaces=True)
    return [item["name"] for item in listed if item["name"].startswith("process:")]


@pytest.fixture
def launcher(ray_cluster: Any, tmp_path: Path) -> RayLauncher:
    return RayLauncher(ray_cluster, partial(writing_agent, tmp_path))


@pytest.mark.parametrize("process_id", ["tune-1", "taken-1"])
def test_a_runner_does_its_process_once_and_ends_by_itself(launcher, tmp_path, process_id):
    for _ in range(3):
        launcher.launch(process_id)
    until(lambda: (tmp_path / "closed").exists() and runners() == [])
    assert (tmp_path / process_id).read_text() == "ran\n"


def test_runners_leave_the_cores_to_trials(launcher, tmp_path):
    launcher.launch("tune-2")
    until(lambda: runners() == ["process:tune-2"])
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
    until(lambda: runners() == [])


def test_in_memory_a_process_is_run_once_at_a_time_too(tmp_path):
    made = InMemoryLauncher(WritingAgent(tmp_path).run_queued)
    for process_id in ("tune-3", "tune-3", "taken-3"):
        made.launch(process_id)
    until(lambda: (tmp_path / "tune-3").exists() and (tmp_path / "taken-3").exists())
    made.close()
    assert (tmp_path / "tune-3").read_text() == "ran\n"
    made.close()
