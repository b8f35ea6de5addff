"""Progress in a terminal: a line that moves for searches and stages; in a log no line is said twice."""

import io

import pytest
from rich.console import Console

from optagent import terminal_progress
from optagent.domain.process import StageProgress
from optagent.domain.study import Progress
from optagent.terminal_progress import ProgressDisplay, progress_display, progress_line, progress_table


def console(is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=120, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_terminal_the_newest_progress_is_drawn_with_a_bar():
    shown = console(is_terminal=True)
    with progress_display(shown, "Replaying [never]", "starting …") as display:
        display(StageProgress("replay", 1, 2, "replays", elapsed_s=3.0))
    assert "Replaying [never]" in text_of(shown)
    assert f"{'━' * 15}{'─' * 15}  replay  1/2 replays  3 s gone" in text_of(shown)


def test_the_seconds_of_a_stage_go_on_between_two_calls():
    assert progress_line(StageProgress("replay", elapsed_s=3.0), since_s=40.0) == "replay  43 s gone"


def test_a_search_and_a_stage_without_parts_are_drawn_too():
    shown = console(is_terminal=True)
    shown.print(progress_table(Progress(trials_done=3, trials_total=10)))
    shown.print(progress_table(StageProgress("prepare")))
    assert "━━━━━━━━━───" in text_of(shown)
    assert f"{'─' * 30}  prepare" in text_of(shown)


def test_in_a_log_a_line_that_says_nothing_new_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal_progress, "_QUIET_EVERY_S", 0.0)
    log = console(is_terminal=False)
    display = ProgressDisplay(log, None)
    for done in (1, 1, 2):
        display(Progress(trials_done=done, trials_total=10))
    assert [line.split("  ")[0] for line in text_of(log).splitlines()] == ["trials 1/10", "trials 2/10"]


def test_a_log_of_many_trials_has_a_line_every_few_seconds():
    log = console(is_terminal=False)
    display = ProgressDisplay(log, None)
    for done in range(100):
        display(Progress(trials_done=done, trials_total=100))
    assert len(text_of(log).splitlines()) == 1
