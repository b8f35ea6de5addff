"""The report of a demo: losses with and without the agent, the calendar where one was tried, and every event."""

import io
from pathlib import Path

import pandas as pd
from rich.console import Console

from optagent.demo.calendars import CalendarAnswers
from optagent.demo.ending import demo_result, show_demo_result
from optagent.demo.live import Answered
from optagent.demo.report import Compared, demo_page
from optagent.demo.timeline import Moment
from optagent.domain.audit_chain import ChainPoint, ChainReport
from optagent.domain.mixture import MixturePoint
from optagent.domain.mixture_status import MixtureCertificate, MixtureStatus, SlotStanding
from optagent.domain.process import Process, Status

RENEWED = {"status": "success", "slots": {"all": "2", "1/4": "3"}}
PROCESS = Process("optimize-1", "optimize", "m", Status.SUCCEEDED, 0.0, 1.0, {"trigger": "growth"}, result=RENEWED)


def compared(with_calendar: bool) -> Compared:
    truth = [row % 2 for row in range(300)]
    day = [pd.Timestamp("2004-01-01")] * 300
    answered = Answered(day, truth, [0.2 + 0.6 * label for label in truth], ["1"] * 300, list(range(300)))
    return Compared(answered, [0.5] * 300, CalendarAnswers(30, None, [0.4] * 300, 3) if with_calendar else None)


def mixture() -> MixtureStatus:
    slots = (SlotStanding("champion", "1", 0.4, 300, 0.5, 1.0), SlotStanding("all", "2", 0.6, 300, 0.4, 1.0))
    certificate = MixtureCertificate(1.0, 5, 6.0, -1.0, -1.0, True, "far ahead of the champion")
    history = (MixturePoint(1.0, 100, 0.5, ("champion", "all"), (0.5, 0.4), (0.4, 0.6)),)
    return MixtureStatus("m", "learning", "", 0.0, 300, 0.4, slots, certificate, 2, 2.0, "", 0.1, history)


def test_the_report_has_the_losses_the_gates_and_the_events() -> None:
    moment = Moment(12.0, pd.Timestamp("2004-01-02"), "policy", "growth of <rows>")
    page = demo_page(compared(True), [moment], [PROCESS], mixture())
    assert "LightGBM each 30 days on all rows" in page
    assert "growth of &lt;rows&gt;" in page
    assert "far ahead of the champion" in page


def test_a_report_without_a_calendar_does_not_name_one() -> None:
    assert "best calendar" not in demo_page(compared(False), [], [PROCESS], mixture())


def test_the_result_counts_what_the_loop_has_trained() -> None:
    chain = ChainReport(7, 1, 7, ChainPoint(0, ""), ChainPoint(7, "x"))
    paths = (Path("demo_report.html"), Path("home"))
    result = demo_result(41.26, compared(False), [PROCESS], mixture(), chain, paths)
    assert (result.models_trained, result.predictions, result.failed_requests) == (2, 300, 0)
    assert result.slots == {"champion": "1", "all": "2"}
    assert result.log_loss < result.log_loss_without
    output = io.StringIO()
    show_demo_result(Console(file=output, width=200), result, "m")
    assert "2 models trained" in output.getvalue()
    assert "audit: 7 links, whole" in output.getvalue()
