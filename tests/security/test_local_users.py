"""Files that other users of the machine cannot read: the home, recorded rows, trials, models, and the cache."""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from optagent.bootstrap import model_parts, parts
from optagent.errors import InvalidRequest
from optagent.settings import load_settings


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct, autouse=True)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_and_a_folder_of_observations_are_closed_from_the_start(tmp_path: Path) -> None:
    parts.make_home(load_settings(home=tmp_path / "a" / "home", observations=tmp_path / "b" / "rows"))
    assert mode(tmp_path / "a" / "home") == 0o700
    assert mode(tmp_path / "b" / "rows") == 0o700


def test_an_open_home_of_before_is_closed_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    with caplog.at_level(logging.WARNING):
        parts.make_home(load_settings(home=home))
        parts.make_home(load_settings(home=home))
    assert mode(home) == 0o700
    assert [record.getMessage() for record in caplog.records] == [
        f"{home} had mode 0755 and could be read by others: it has mode 0700 now"
    ]


def test_a_home_of_another_user_stays_as_its_owner_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o770)
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
    parts.make_home(load_settings(home=home))
    assert mode(home) == 0o770


def test_the_files_of_a_home_lie_below_closed_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = load_settings(home=tmp_path / "home")
    parts.make_home(settings)
    with model_parts.registry(settings)._server.session():  # makes the database of MLflow
        pass
    parts.studies(settings)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"mlflow.db"}
    closed = (tmp_path / "home", tmp_path / "cache" / "optagent")
    assert [path for path in files if not any(folder in path.parents for folder in closed)] == []
    assert {mode(folder) for folder in closed} == {0o700}


def test_a_file_in_the_place_of_a_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(InvalidRequest, match=r"OPT_AGENT_HOME: .*home cannot be made: is not a folder"):
        parts.make_home(load_settings(home=tmp_path / "home"))
