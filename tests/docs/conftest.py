"""The built site, once for all workers of a session."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `make docs` builds it."""
    if find_spec("mkdocs") is None:
        pytest.skip("the site is not built: mkdocs is absent, install optagent[docs]")
    mine = tmp_path_factory.getbasetemp()
    folder = (mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "404.html").exists():
            _run("-m", "reference")
            _run("-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    return folder


def _run(*arguments: str) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
