"""The tour notebook runs from its first cell to its last, and its results show themselves as HTML."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.stories import EXAMPLES, story_environment

CELL_S = 900
pytestmark = pytest.mark.timeout(1800)


def html_of(cell: nbformat.NotebookNode) -> str:
    return "".join(output.get("data", {}).get("text/html", "") for output in cell["outputs"])


def test_the_tour_runs_and_shows_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in story_environment(tmp_path / "state").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    notebook = nbformat.read(EXAMPLES / "notebooks" / "tour.ipynb", as_version=4)
    NotebookClient(notebook, timeout=CELL_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pages = {cell["source"].strip().splitlines()[-1]: html_of(cell) for cell in notebook["cells"] if "outputs" in cell}
    assert "Best parameters" in pages["result"]
    assert "<progress" in pages["result"], "a search shows its progress in the cell"
    assert "drift" in pages["report"]
    assert "<table" in pages["result.to_frame()"]


def test_the_tour_is_committed_without_outputs() -> None:
    notebook = nbformat.read(EXAMPLES / "notebooks" / "tour.ipynb", as_version=4)
    assert all(
        not cell["outputs"] and cell["execution_count"] is None for cell in notebook["cells"] if "outputs" in cell
    )
