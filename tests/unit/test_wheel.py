"""The built wheel: it carries every file of the packages, and works away from the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (built,) = folder.glob("optagent-*.whl")
    return built


def names_of(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def package_files() -> set[str]:
    files = [path for package in ("optagent", "serve_app") for path in (ROOT / package).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".pyc"}


def test_the_wheel_carries_every_file_of_the_packages_and_no_other(wheel):
    carried = {name for name in names_of(wheel) if ".dist-info/" not in name}
    assert carried == package_files()


def test_types_templates_static_files_and_jobs_are_in_the_wheel(wheel):
    assert {
        "optagent/py.typed",
        "serve_app/py.typed",
        "optagent/jobs/tune.py",
        "optagent/adapters/pages/templates/report.html",
        "serve_app/api/templates/docs.html",
        "serve_app/dashboard/templates/base.html",
        "serve_app/dashboard/static/dashboard.js",
    } <= names_of(wheel)


def test_a_job_runs_from_the_wheel_alone(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "100"}
    command = [sys.executable, "-m", "optagent.jobs.tune", "--help"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (shown.returncode, "--trials" in shown.stdout) == (0, True)
    where = [sys.executable, "-c", "import optagent.jobs; print(optagent.jobs.__file__)"]
    file = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60).stdout
    assert file.startswith(str(tmp_path))
