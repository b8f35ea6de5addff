"""Stories of the documentation: folders of examples whose scripts run one after the other in one working folder."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from optagent.adapters.cluster.free_ports import free_port

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

_STEP = re.compile(r"\d\d-.+\.(sh|py)")
_UP = re.compile(r"^\s*optagent up\b", re.M)


@dataclass(frozen=True, slots=True)
class Story:
    """A folder of examples. Numbered scripts are its steps, in the order of their names; other files are their data."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def steps(self) -> list[Path]:
        return [path for path in sorted(self.folder.iterdir()) if _STEP.fullmatch(path.name)]

    @property
    def data(self) -> list[Path]:
        return [path for path in sorted(self.folder.iterdir()) if path not in self.steps and path.is_file()]

    @property
    def needs_a_system(self) -> bool:
        return any(_UP.search(step.read_text(encoding="utf-8")) for step in self.steps if step.suffix == ".sh")


def stories() -> list[Story]:
    """Every story, by name."""
    return [Story(folder) for folder in sorted(EXAMPLES.glob("*/")) if folder.name != "__pycache__"]


def tell_story(story: Story, home: Path, step_s: float) -> None:
    """Runs the steps of a story in a new folder below `home`, each for at most `step_s` seconds.

    A story that brings up a system waits until no other test has one, and takes it down at the end.
    """
    work = home / "work"
    work.mkdir()
    (home / "user").mkdir()
    for path in story.data:
        shutil.copy(path, work)
    environment = story_environment(home)
    with only_system(story, work, environment):
        for step in story.steps:
            done = run_step(step, work, environment, step_s)
            assert done.returncode == 0, f"{story.name}/{step.name}:\n{done.stdout}\n{done.stderr}"


def run_step(step: Path, work: Path, environment: dict[str, str], step_s: float) -> "subprocess.CompletedProcess[str]":
    """The exit code and the output of a step, which ends within `step_s` seconds or raises TimeoutExpired."""
    command = [sys.executable] if step.suffix == ".py" else ["bash", "-euo", "pipefail"]
    # Into files: a program that a step leaves in the background would hold a pipe open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        code = subprocess.run(
            [*command, str(step)], cwd=work, env=environment, stdout=output, stderr=errors, timeout=step_s
        ).returncode
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(command, code, output.read(), errors.read())


def story_environment(home: Path) -> dict[str, str]:
    """The environment of a story's steps, with a home and a port of its own."""
    """The variables of a reader who has installed optagent, and has neither settings nor files of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPT_AGENT_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home / "user"),
        "OPT_AGENT_HOME": str(home / "state"),
        "OPT_AGENT_API_PORT": str(free_port()),
        "OPT_AGENT_NUM_CPUS": "2",
    }


@contextlib.contextmanager
def only_system(story: Story, work: Path, environment: dict[str, str]) -> Iterator[None]:
    """One `optagent up` at a time on a machine, since ports of Ray are fixed; nothing for a story without one."""
    if not story.needs_a_system:
        yield
        return
    with FileLock(Path(tempfile.gettempdir()) / "optagent-tests-up.lock", timeout=1800):
        try:
            yield
        finally:
            command = [sys.executable, "-m", "optagent.cli", "down"]
            subprocess.run(command, cwd=work, env=environment, capture_output=True, timeout=120)
