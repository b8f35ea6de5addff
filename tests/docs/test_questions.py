"""Forty questions of newcomers, each answered within two clicks of the front page."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.built_page import built_page, pages_within_two_clicks

DOCS = Path(__file__).parents[2] / "docs"
QUESTIONS = DOCS / "questions.md"

_ROW = re.compile(r"\| (?P<text>[^|]+[?.]) \| \[[^\]]+\]\((?P<page>[^)#]+\.md)\) \| (?P<words>[^|]+) \|")


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the page that answers it, below docs, and words of the answer."""

    text: str
    page: str
    words: tuple[str, ...]


def questions() -> list[Question]:
    rows = _ROW.finditer(QUESTIONS.read_text(encoding="utf-8"))
    return [Question(row["text"], row["page"], tuple(row["words"].split(", "))) for row in rows]


def test_there_are_forty_questions_and_none_stands_twice():
    texts = [question.text for question in questions()]
    assert len(texts) == len(set(texts)) == 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize("question", questions(), ids=lambda question: question.text)
def test_a_question_is_answered_within_two_clicks(question: Question, site: Path):
    page = (site / question.page).with_suffix(".html")
    text = built_page(page).text.lower()
    assert [word for word in question.words if word.lower() not in text] == []
    assert page.resolve() in pages_within_two_clicks(site / "index.html")
