"""Charts of the live page: points within their box, and none where there is nothing to show."""

import numpy as np

from optagent.demo.svg import HEIGHT, WIDTH, line_chart, stacked_chart


def points(text: str) -> np.ndarray:
    return np.array([[float(number) for number in point.split(",")] for point in text.split()])


def test_lines_stay_within_the_box_from_edge_to_edge():
    chart = line_chart({"a": np.array([1.0, 2.0, 4.0]), "b": np.array([3.0, 3.0, 3.0])})
    assert chart is not None
    for curve in chart.curves:
        x, y = points(curve.points).T
        assert x.tolist() == [0, WIDTH / 2, WIDTH]
        assert ((y >= 0) & (y <= HEIGHT)).all()
    assert [curve.newest for curve in chart.curves] == [4, 3]


def test_values_that_are_not_there_yet_are_left_out():
    chart = line_chart({"a": np.array([np.nan, 1.0, 2.0])})
    assert chart is not None
    assert len(points(chart.curves[0].points)) == 2
    assert line_chart({"a": np.array([np.nan])}) is None
    assert line_chart({"a": np.array([])}) is None


def test_a_constant_line_has_a_place():
    chart = line_chart({"a": np.ones(5)})
    assert chart is not None
    assert np.isfinite(points(chart.curves[0].points)).all()


def test_a_long_line_has_few_points_and_its_newest_one():
    chart = line_chart({"a": np.arange(100_000.0)})
    assert chart is not None
    assert len(points(chart.curves[0].points)) <= 240
    assert points(chart.curves[0].points)[-1, 0] == WIDTH


def test_parts_lie_on_top_of_each_other():
    chart = stacked_chart(["a", "b"], np.array([[1.0, 0.0], [0.25, 0.75]]))
    assert chart is not None
    first, second = (points(curve.points) for curve in chart.curves)
    assert first[1].tolist() == [WIDTH, 0.75 * HEIGHT]
    assert second[1].tolist() == [WIDTH, 0.0]
    assert [curve.newest for curve in chart.curves] == [0.25, 0.75]
    assert stacked_chart(["a"], np.ones((1, 1))) is None
