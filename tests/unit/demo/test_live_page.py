"""The live page: it moves, becomes the report, is for this machine only, and shows every text as text."""

import io
from collections.abc import Iterator

import pandas as pd
import pytest
import requests
from rich.console import Console

from optagent.demo.board import Board
from optagent.demo.live import Answered
from optagent.demo.live_page import LivePage, open_browser, serve_live_page
from optagent.demo.timeline import Timeline
from optagent.domain.mixture import MixturePoint
from optagent.domain.mixture_status import MixtureCertificate, MixtureStatus, SlotStanding

HOSTILE = "<img src=x onerror=alert(1)>"


def mixture_of(*names: str) -> MixtureStatus:
    part = 1 / len(names)
    slots = tuple(SlotStanding(name, str(place), part, 300, 0.5, 1.0) for place, name in enumerate(names, 1))
    certificate = MixtureCertificate(1.0, 5, 6.0, -1.0, -1.0, True, "far ahead")
    losses, parts = (0.5,) * len(names), (part,) * len(names)
    history = (
        MixturePoint(1.0, 100, 0.5, names[:1], losses[:1], (1.0,)),
        MixturePoint(2.0, 300, 0.4, names, losses, parts),
    )
    return MixtureStatus("m", "learning", "", 0.0, 300, 0.4, slots, certificate, 2, 2.0, "", 0.1, history)


def board_with(rows: int) -> Board:
    board = Board(Timeline(Console(file=io.StringIO())))
    days = [pd.Timestamp("2004-01-01") + pd.Timedelta(days=row // 5) for row in range(rows)]
    truth = [row % 2 for row in range(rows)]
    board.answered = Answered(days, truth, [0.2 + 0.6 * label for label in truth], ["1"] * rows, list(range(rows)))
    board.frozen = [0.5] * rows
    return board


@pytest.fixture
def page() -> Iterator[LivePage]:
    with serve_live_page(board_with(300).render) as live_page:
        yield live_page


def test_the_page_needs_nothing_but_its_own_server(page: LivePage) -> None:
    answer = requests.get(page.url, timeout=10)
    assert answer.status_code == 200
    assert "http" not in answer.text.replace("http-equiv", "")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert requests.get(f"{page.url}live.js", timeout=10).headers["Content-Type"].startswith("text/javascript")


def test_the_board_shows_both_losses(page: LivePage) -> None:
    text = requests.get(f"{page.url}board", timeout=10).text
    assert "0.6931" in text  # of the frozen champion, which says one half
    assert "0.2231" in text
    assert text.count("<polyline") == 2


def test_the_page_becomes_the_report_at_the_end(page: LivePage) -> None:
    assert requests.get(f"{page.url}report", timeout=10).status_code == 404
    page.show_report("<p>the report</p>", wait_s=0)
    assert requests.get(f"{page.url}board", timeout=10).headers["Demo-Report"] == "/report"
    assert requests.get(f"{page.url}report", timeout=10).text == "<p>the report</p>"
    assert page.taken.wait(10)


def test_another_sites_name_for_this_machine_is_refused(page: LivePage) -> None:
    answer = requests.get(page.url, headers={"Host": "evil.example"}, timeout=10)
    assert answer.status_code == 403
    assert requests.get(f"{page.url}nothing", timeout=10).status_code == 404


def test_a_request_of_nonsense_says_nothing_in_the_terminal(page: LivePage, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(requests.RequestException):
        requests.get(page.url, headers={"Host": "[::"}, timeout=10)
    assert requests.get(page.url, timeout=10).ok
    assert capfd.readouterr().err == ""


def test_nobody_is_waited_for_where_no_page_is_open(page: LivePage) -> None:
    page.show_report("<p>the report</p>", wait_s=3600)


def test_a_hostile_text_is_shown_as_text() -> None:
    board = board_with(10)
    board.timeline.say("policy", HOSTILE)
    board.mixture = mixture_of("champion", HOSTILE)
    text = board.render("live.html")
    assert HOSTILE not in text
    assert text.count("&lt;img src=x") >= 3


def test_a_board_without_an_answer_is_shown() -> None:
    text = board_with(0).render("live.html")
    assert "no point yet" in text
    assert "the champion answers alone" in text


def test_rows_that_only_one_of_both_has_answered_yet_wait() -> None:
    board = board_with(300)
    del board.frozen[200:]
    assert "<b>200</b>predictions" in board.render()


def test_a_slot_that_came_later_had_no_part_before() -> None:
    board = board_with(10)
    board.mixture = mixture_of("champion", "all")
    text = board.render()
    assert "all: 50%" in text
    assert text.count("<polygon") == 2


def test_no_browser_opens_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert not open_browser("http://127.0.0.1:1/")
