"""The timeline of a demo: events are printed once and as they are, with the day of the market."""

import io

import pandas as pd
from rich.console import Console

from optagent.demo.timeline import Timeline, trained_models
from optagent.domain.process import Process, Status


def process_with(status: Status, **fields: object) -> Process:
    command = {"trigger": "growth", "reason": "enough rows have come"}
    return Process("optimize-1", "optimize", "m", status, 0.0, 1.0, command, **fields)  # type: ignore[arg-type]


def test_a_text_with_brackets_is_printed_as_it_is() -> None:
    output = io.StringIO()
    timeline = Timeline(Console(file=output, width=200))
    timeline.day = lambda: pd.Timestamp("2004-02-03")
    timeline.say("noise", "[bold]refused[/bold] at [0.4, 0.6]")
    assert "2004-02-03  noise     [bold]refused[/bold] at [0.4, 0.6]" in output.getvalue()


def test_an_optimization_is_told_at_its_start_and_at_its_end_once_each() -> None:
    timeline = Timeline(Console(file=io.StringIO()))
    for status in (Status.RUNNING, Status.RUNNING):
        timeline.say_process(process_with(status))
    ended = process_with(Status.SUCCEEDED, result={"status": "success", "slots": {"all": "2"}})
    for _ in range(2):
        timeline.say_process(ended)
    assert [(moment.kind, moment.text) for moment in timeline.moments] == [
        ("policy", "growth: enough rows have come"),
        ("success", "new models answer beside the others: all: version 2"),
    ]
    assert trained_models([ended, process_with(Status.RUNNING)]) == 1


def test_a_refused_candidate_is_told_with_its_reason() -> None:
    timeline = Timeline(Console(file=io.StringIO()))
    result = {"status": "rejected", "error_message": "slot all: latency"}
    timeline.say_process(process_with(Status.SUCCEEDED, result=result))
    assert timeline.moments[-1].kind == "rejected"
    assert timeline.moments[-1].text == "slot all: latency"
