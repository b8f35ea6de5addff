"""Code on pages is a file that a test runs: it is included, and never typed a second time."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TYPED_BY_HAND = {"text", "console"}

_FENCE = re.compile(
    r"^ *(?P<fence>`{3,}|~{3,}) *(?P<language>[\w+-]*)[^\n]*\n(?P<body>.*?)^ *(?P=fence) *$", re.S | re.M
)
_INCLUDE = re.compile(r'--8<-- "(?P<file>docs/examples/[^":]+)(?::(?P<section>[\w-]+))?"')


def pages() -> list[Path]:
    """Every page that is written by hand; those of the reference are made from the code."""
    return [page for page in sorted(DOCS.rglob("*.md")) if DOCS / "reference" not in page.parents]


def code_lines(page: Path) -> Iterator[tuple[str, str]]:
    """The language and each line of the blocks of a page that are not output."""
    for block in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if block["language"] not in TYPED_BY_HAND:
            yield from ((block["language"], line.strip()) for line in block["body"].splitlines() if line.strip())


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_code_on_a_page_is_included_from_an_example(page: Path):
    typed = [(language, line) for language, line in code_lines(page) if not _INCLUDE.fullmatch(line)]
    assert typed == [], "put it into docs/examples/<story>/ and include it; output has the language text or console"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_what_a_page_includes_exists(page: Path):
    for include in filter(None, (_INCLUDE.fullmatch(line) for _, line in code_lines(page))):
        text = (ROOT / include["file"]).read_text(encoding="utf-8")
        if include["section"] is not None:
            assert f"[start:{include['section']}]" in text, include[0]
            assert f"[end:{include['section']}]" in text, include[0]


def test_a_block_that_is_typed_by_hand_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("```sh\noptagent up\n```\n\n```text\nAPI http://…\n```\n\n```\nlost\n```\n")
    assert list(code_lines(page)) == [("sh", "optagent up"), ("", "lost")]
