"""Quality of models in a store: a point a window, the newest thousand, read for many models at once."""

from dataclasses import replace

import pytest

from optagent.domain.monitoring import Window
from optagent.domain.quality_point import MOST_POINTS, QualityPoint
from optagent.domain.study import Interval
from optagent.errors import InvalidRequest

DAY = 86_400.0


def a_point(day: int, **changes: object) -> QualityPoint:
    point = QualityPoint(Window(day * DAY, (day + 1) * DAY), day * DAY + 1.5, "3", 20, 10, "auc")
    return replace(point, **changes)


async def test_a_model_without_points_has_an_empty_list(store):
    assert await store.quality(["churn"]) == {"churn": []}


async def test_points_read_back_equal_and_in_the_order_of_time(store):
    full = a_point(
        2,
        realised=Interval(0.8, 0.7, 0.9, 0.05),
        estimated=Interval(0.1 + 0.2, 0.0, 1 / 3, 0.05),
        trusted=False,
        calibration_error=0.02,
        drift=0.3,
        effects={"é": 0.25},
        findings=("data drift",),
        verdict="data drift",
    )
    await store.save_quality("churn", [full, a_point(1)])
    assert await store.quality(["churn"]) == {"churn": [a_point(1), full]}


async def test_a_later_analysis_of_a_window_replaces_its_point(store):
    await store.save_quality("churn", [a_point(1), a_point(2)])
    await store.save_quality("churn", [a_point(1, labelled=20)])
    assert await store.quality(["churn"]) == {"churn": [a_point(1, labelled=20), a_point(2)]}


async def test_the_newest_points_of_several_models_are_read_at_once(store):
    await store.save_quality("churn", [a_point(day) for day in range(5)])
    await store.save_quality("fraud", [a_point(9)])
    newest = await store.quality(["fraud", "churn", "rent"], since=4 * DAY, most=1)
    assert newest == {"fraud": [a_point(9)], "churn": [a_point(4)], "rent": []}


async def test_of_no_model_nothing_is_read(store):
    assert await store.quality([]) == {}


async def test_the_oldest_points_go_when_there_are_too_many(store):
    await store.save_quality("churn", [a_point(day) for day in range(MOST_POINTS + 2)])
    points = (await store.quality(["churn"], most=2 * MOST_POINTS))["churn"]
    assert (len(points), points[0]) == (MOST_POINTS, a_point(2))


async def test_fewer_than_one_point_cannot_be_asked_for(store):
    with pytest.raises(InvalidRequest, match="limit must be at least 1, got 0"):
        await store.quality(["churn"], most=0)
