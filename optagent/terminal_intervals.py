"""A model's intervals on the command line: coverages of the levels and over time, their widths, and the alert."""

from rich.console import Console

from optagent.domain.instant import time_text
from optagent.domain.interval_status import IntervalStatus, LevelStanding, SpellCoverage
from optagent.domain.study import Interval
from optagent.secret_text import hide_secrets
from optagent.terminal import show_table


def show_intervals(console: Console, status: IntervalStatus) -> None:
    """Prints what was asked and seen, each level, and the watched level by tenth of time."""
    for line in interval_lines(status):
        console.print(hide_secrets(line), highlight=False, markup=False, soft_wrap=True)
    show_table(console, ["level", "covered", "95 % interval", "width"], [_level_row(level) for level in status.levels])
    if status.tenths:
        headings = ["from", "to", "rows", f"{status.level:.0%} covered", "95 % interval"]
        show_table(console, headings, [_spell_row(spell) for spell in status.tenths])


def interval_lines(status: IntervalStatus) -> list[str]:
    """The coverage, the state of learning and the alert, as sentences."""
    seen = "no outcomes yet"
    if status.coverage is not None:
        seen = f"{_share(status.coverage)} of {status.rows:,} outcomes were covered"
    began = f"of version {status.version}, since {time_text(status.began_at)}"
    lines = [f"{status.level:.0%} intervals of {status.model_id}, {began}: {seen}"]
    if status.waits_for:
        lines.append(f"learning waits for the end of a fault: {status.waits_for}")
    lines.append(f"alert open: {status.alert}" if status.alert_is_open else "no alert is open")
    return lines


def _level_row(level: LevelStanding) -> list[str]:
    width = "–" if level.width is None else f"{level.width:.4g}"
    return [f"{level.level:.0%}", *_coverage_cells(level.coverage), width]


def _spell_row(spell: SpellCoverage) -> list[str]:
    return [time_text(spell.start), time_text(spell.end), f"{spell.rows:,}", *_coverage_cells(spell.coverage)]


def _coverage_cells(coverage: Interval | None) -> list[str]:
    if coverage is None:
        return ["–", "–"]
    return [_share(coverage), f"{coverage.low:.1%} to {coverage.high:.1%}"]


def _share(coverage: Interval) -> str:
    return f"{coverage.estimate:.1%}"
