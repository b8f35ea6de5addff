import datetime as dt
from typing import Any

import pytest

from optagent.domain.monitoring import Window
from optagent.domain.time_range import parse_time_range
from optagent.errors import InvalidRequest

NOW = 1_700_000_000.0
JANUARY = Window(1_704_067_200.0, 1_706_745_600.0)


@pytest.mark.parametrize(("text", "length_s"), [("90m", 5400), ("24h", 86_400), ("7d", 604_800), (" 1.5 h ", 5400)])
def test_a_duration_goes_back_from_now(text: str, length_s: float) -> None:
    assert parse_time_range(text, NOW) == Window(NOW - length_s, NOW)


@pytest.mark.parametrize(
    "time_range",
    [
        "2024-01-01..2024-02-01",
        "2024-01-01T00:00:00Z .. 2024-02-01T01:00:00+01:00",
        "1704067200..1706745600.0",
        ("2024-01-01", "2024-02-01"),
        [1_704_067_200, 1_706_745_600.0],
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 2, 1)),  # noqa: DTZ001
        (dt.date(2024, 1, 1), "1706745600"),
        JANUARY,
    ],
)
def test_two_instants_are_a_window_and_have_no_zone_but_utc(time_range: Any) -> None:
    assert parse_time_range(time_range, NOW) == JANUARY


@pytest.mark.parametrize(
    "time_range",
    [
        "yesterday",
        "",
        "0h",
        "-1h",
        "9999999999999d",
        "2024-01-01",
        "2024-01-01..",
        "..",
        "2024-02-01..2024-01-01",
        "2024-01-01..2024-01-01",
        "2024-01-01..2024-02-01..2024-03-01",
        "nan..inf",
        "0..1e400",
        ("2024-01-01",),
        (1.0, 2.0, 3.0),
        (True, 2.0),
        (None, 2.0),
        (float("nan"), 2.0),
        (0, 10**400),
        24,
        None,
    ],
)
def test_anything_else_is_refused_with_the_rule(time_range: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"24h|2024-01-31|after the first|above 0"):
        parse_time_range(time_range, NOW)
