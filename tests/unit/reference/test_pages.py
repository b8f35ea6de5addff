"""Pages of the reference as Markdown, and their files."""

from pathlib import Path

from reference.cli import commands
from reference.gates import gates_page
from reference.glossary import first_sentence
from reference.page import ReferencePage
from reference.pages import write_pages
from reference.policies import policies_page


def test_a_cell_cannot_break_its_table():
    page = ReferencePage("T", "I.")
    page.add_table(["a"], [["one | two\nthree"]])
    assert page.markdown.endswith("| a |\n| --- |\n| one \\| two three |\n")


def test_a_name_without_a_description_is_noted():
    page = ReferencePage("T", "I.")
    assert page.describe("known", " A  thing. ") == "A thing."
    assert page.describe("riddle", None) == ""
    assert page.undocumented == ["riddle"]


def test_policies_stand_side_by_side_with_all_their_values():
    assert "| field | conservative | balanced | aggressive |" in policies_page().markdown
    assert "| `growth` | `0.0625` | `0.0625` | `0.03` |" in policies_page().markdown


def test_gates_have_their_error_rates_by_strategy():
    assert "| `conservative` | 0.01 | 0 |" in gates_page().markdown


def test_commands_of_a_group_have_the_words_of_the_group():
    names = [name for name, _ in commands()]
    assert names[0] == "optagent"
    assert {"optagent tune", "optagent rollout start", "optagent audit verify"} <= set(names)


def test_a_page_that_has_not_changed_is_not_written_again(tmp_path: Path):
    page = ReferencePage("T", "I.")
    write_pages(tmp_path, {"t": page})
    (tmp_path / "t.md").chmod(0o444)
    inode = (tmp_path / "t.md").stat().st_ino
    write_pages(tmp_path, {"t": page})
    page.add_text("More.")
    assert (tmp_path / "t.md").stat().st_ino == inode
    write_pages(tmp_path, {"t": page})
    assert (tmp_path / "t.md").read_text() == "# T\n\nI.\n\nMore.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["t.md"]


def test_a_first_sentence_ends_before_the_next_one():
    assert first_sentence("A rate (e.g. .05) of\nerrors. Not more.\n\nElse.") == "A rate (e.g. .05) of errors."
