"""Fleet on the command line: a line a model, the worst first, and what is asked wrongly."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from optagent.cli import app, fleet
from optagent.domain.fleet import Answerer, Fleet, LatestProcess, ModelHealth, ModelStanding
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.quality_point import QualityPoint
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest
from optagent.terminal_fleet import draw_bars, show_fleet

POINTS = tuple(
    QualityPoint(Window(day, day + 1.0), 0.0, "1", 20, 10, "auc", realised=Interval(0.5 + day / 10, 0.4, 0.9, 0.05))
    for day in range(3)
)
CHURN = ModelStanding(
    "churn",
    Task.BINARY,
    "auc",
    ModelHealth.WARNING,
    "performance: [bold]auc fell",
    Answerer.MIXTURE,
    "3",
    {"champion": "3", "all": "4"},
    process=LatestProcess("p", "optimize", "succeeded", "gates", "rejected", 1.0, 2.0),
    latest=replace(POINTS[-1], drift=0.25),
    points=POINTS,
)
FLEET = Fleet(0.0, 3, {"critical": 0, "warning": 1, "unknown": 0, "good": 2}, (CHURN,))


def shown(page: Fleet) -> str:
    out = StringIO()
    show_fleet(Console(file=out, width=200), page)
    return out.getvalue()


def test_a_model_is_a_line_with_all_that_is_known_of_it() -> None:
    text = shown(FLEET)
    for part in ("churn", "warning", "mixture of 2", "auc 0.7 (0.4 to 0.9)", "▁▅█", "0.25", "optimize rejected"):
        assert part in text
    assert "[bold]auc fell" in text
    assert "1 warning" in text
    assert "and 2 more" in text


def test_bars_go_from_the_least_to_the_most() -> None:
    assert draw_bars(POINTS) == "▁▅█"
    assert draw_bars(POINTS[:1]) == ""
    assert draw_bars([POINTS[0]] * 2) == "▁▁"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks the agent for."""
    questions: list[Any] = []

    class Agent:
        def fleet(self, *question: Any) -> Fleet:
            questions.append(question)
            return FLEET

    monkeypatch.setattr(fleet, "with_agent", lambda verb: verb(Agent()))
    return questions


def test_words_order_and_limit_are_asked_for(asked: list[Any]) -> None:
    answer = CliRunner().invoke(app, ["fleet", "churn", "critical", "--order", "drift", "--limit", "5", "--json"])
    assert answer.exit_code == 0, answer.output
    assert asked == [("churn critical", "drift", 0, 5, 30.0)]
    assert json.loads(answer.output)["models"][0]["model_id"] == "churn"


def test_live_needs_a_terminal() -> None:
    for words in (["fleet", "--live"], ["watch", "--live"]):
        answer = CliRunner().invoke(app, words)
        assert isinstance(answer.exception, InvalidRequest)
        assert "--live draws in a terminal" in str(answer.exception)


def test_watching_needs_a_model_or_live_and_not_both() -> None:
    assert "name a model to watch" in str(CliRunner().invoke(app, ["watch"]).exception)
    assert "optagent fleet WORDS --live" in str(CliRunner().invoke(app, ["watch", "churn", "--live"]).exception)
