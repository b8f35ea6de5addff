"""`optagent demo` refuses in a sentence, with exit code 2, before it starts anything."""

import sys
from pathlib import Path

import pytest

from optagent.cli import main


def code_of(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--fast", "--no-browser", *arguments])
    return ended.value.code


def test_a_report_that_is_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--home", str(tmp_path / "home"), "--report", str(tmp_path)) == 2
    assert "is a folder" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


def test_a_home_below_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert code_of("--home", str(tmp_path / "file" / "home"), "--report", str(tmp_path / "report.html")) == 2
    assert "cannot be written: Not a directory" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("library", ["bokeh_sampledata", "ray"])
def test_a_missing_extra_is_refused_with_the_command(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert code_of("--home", str(tmp_path / "home")) == 2
    assert 'pip install "optagent[demo]"' in capsys.readouterr().err
