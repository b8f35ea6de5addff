"""Status of intervals: asked and seen coverage, tenths of time, widths, the alert, and models without intervals."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from optagent import terminal_intervals
from optagent.domain.interval_status import IntervalStatus
from optagent.domain.model import Task
from optagent.errors import ModelNotFound, NotFound
from optagent.loop.intervals.status import interval_status_of, read_interval_status
from tests.unit.loop.intervals.conftest import SPEC, IntervalWorld

DAY_S = 86_400.0


async def status_of(world: IntervalWorld, covered: dict[str, tuple[int, ...]]) -> IntervalStatus:
    """The status after a pass over a journal with these counts."""
    await world.begin()
    record = await world.record()
    await world.store.save_intervals(replace(record, covered=covered), record)
    await world.supervise()
    return await read_interval_status("rent", world.store)


def days(first: int, count: int, covered: int = 180) -> dict[str, tuple[int, ...]]:
    return {str(day): (200, 100, 160, covered, 190, 198) for day in range(first, first + count)}


async def test_before_any_outcome_the_widths_are_told_and_no_coverage(world):
    status = await status_of(world, {})
    assert (status.version, status.level, status.rows, status.coverage, status.tenths) == ("1", 0.9, 0, None, ())
    assert status.width == pytest.approx(2 * await world.threshold())
    assert [level.level for level in status.levels] == [0.5, 0.8, 0.9, 0.95, 0.99]
    assert not status.alert_is_open


async def test_coverage_is_told_in_all_by_level_and_by_tenth_of_time(world):
    status = await status_of(world, {**days(100, 40), **days(140, 10, covered=170)})
    assert status.rows == 10_000
    assert status.coverage.estimate == pytest.approx(0.89)
    assert status.coverage.low < 0.89 < status.coverage.high
    assert [level.coverage.estimate for level in status.levels] == pytest.approx([0.5, 0.8, 0.89, 0.95, 0.99])
    assert [spell.rows for spell in status.tenths] == [1_000] * 10
    assert [spell.coverage.estimate for spell in status.tenths] == pytest.approx([0.9] * 8 + [0.85] * 2)
    assert (status.tenths[0].start, status.tenths[-1].end) == (100 * DAY_S, 150 * DAY_S)


async def test_a_tenth_without_outcomes_has_no_coverage_and_few_days_are_told_by_day(world):
    gap = await status_of(world, {**days(0, 1), **days(29, 1)})
    assert [spell.rows for spell in gap.tenths] == [200, *[0] * 8, 200]
    assert gap.tenths[4].coverage is None
    record = replace(await world.record(), covered=days(7, 3))
    assert [spell.start / DAY_S for spell in interval_status_of(SPEC, record, []).tenths] == [7, 8, 9]


async def test_an_open_alert_is_told_and_shown(world):
    status = await status_of(world, days(0, 7, covered=150))
    assert status.alert_is_open
    assert "covered 75.0% of the 1,400 outcomes" in status.alert
    console = Console(file=StringIO(), width=120)
    terminal_intervals.show_intervals(console, replace(status, waits_for="labels are turned around"))
    shown = console.file.getvalue()
    assert "90% intervals of rent, of version 1, since" in shown
    assert "alert open: intervals of 90% covered 75.0%" in shown
    assert "learning waits for the end of a fault: labels are turned around" in shown
    assert shown.count("75.0%") > 7


async def test_sets_of_labels_have_no_width(world):
    await world.begin()
    status = interval_status_of(replace(SPEC, task=Task.BINARY, label_horizon="1d"), await world.record(), [])
    assert status.width is None
    assert status.levels[2].threshold > 0


async def test_a_model_without_intervals_is_told_how_to_have_them(world):
    with pytest.raises(ModelNotFound):
        await read_interval_status("rent", world.store)
    await world.store.save_model(SPEC)
    with pytest.raises(NotFound, match="have not begun: they start within a minute of optagent up"):
        await read_interval_status("rent", world.store)
    await world.store.replace_model(replace(SPEC, intervals=False), SPEC)
    with pytest.raises(NotFound, match=r"has no intervals: set intervals: true in its model\.yaml"):
        await read_interval_status("rent", world.store)
