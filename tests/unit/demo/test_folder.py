"""A demo's folder: one demo at a time, an empty start, and nothing of somebody else's is deleted."""

from pathlib import Path
from typing import NamedTuple

import pytest

from optagent.demo import folder as demo_folder
from optagent.demo.folder import check_report_path, hold_demo_folder
from optagent.errors import Conflict, InvalidRequest


def test_a_demo_begins_with_an_empty_folder(tmp_path: Path) -> None:
    with hold_demo_folder(tmp_path / "home", lambda: None) as folder:
        (folder / "rows.parquet").touch()
    with hold_demo_folder(tmp_path / "home", lambda: None) as folder:
        assert not (folder / "rows.parquet").exists()


def test_what_an_earlier_demo_left_running_is_ended_before_its_folder_goes(tmp_path: Path) -> None:
    seen = []
    with hold_demo_folder(tmp_path, lambda: None) as folder:
        (folder / "up").mkdir()
    with hold_demo_folder(tmp_path, lambda: seen.append((folder / "up").exists())):
        pass
    assert seen == [True]


def test_a_second_demo_of_the_same_home_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with (
        hold_demo_folder(tmp_path, lambda: None) as folder,
        pytest.raises(Conflict, match="--home FOLDER"),
        hold_demo_folder(tmp_path, lambda: None),
    ):
        pass
    assert folder.exists()


def test_a_demo_may_start_once_the_other_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_demo_folder(tmp_path, lambda: None):
            pass


def test_a_folder_that_is_no_demos_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="is not of a demo"), hold_demo_folder(tmp_path, lambda: None):
        pass
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "mine"


def test_the_folder_of_an_older_programs_demo_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "turbulence.parquet").touch()
    with hold_demo_folder(tmp_path, lambda: None) as folder:
        assert not (folder / "turbulence.parquet").exists()


def test_a_home_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InvalidRequest, match="cannot be written: Not a directory; optagent demo --home FOLDER"),
        hold_demo_folder(tmp_path / "file" / "home", lambda: None),
    ):
        pass


class Usage(NamedTuple):
    free: int


def test_a_disk_with_no_room_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_folder.shutil, "disk_usage", lambda folder: Usage(12_000_000))
    with pytest.raises(InvalidRequest, match="12 MB: make room"), hold_demo_folder(tmp_path, lambda: None):
        pass
    assert not (tmp_path / "demo").exists()


def test_a_report_that_could_not_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    check_report_path(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidRequest, match="is a folder"):
        check_report_path(tmp_path)
    with pytest.raises(InvalidRequest, match="No such file or directory; --report FILE"):
        check_report_path(tmp_path / "missing" / "report.html")
