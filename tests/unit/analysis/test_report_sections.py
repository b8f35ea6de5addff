"""A model's analysis in sections of text: the same ones in every view, with as much as there is room for."""

from dataclasses import replace

import pytest

from optagent.analysis.report.parts import Drawing, Room, Table
from optagent.analysis.report.sections import report_sections
from optagent.domain.model_report import Business, ModelReport


def tables(report, room):
    return [part for section in report_sections(report, room) for part in section.parts if isinstance(part, Table)]


def test_every_view_has_the_same_sections_in_the_same_order(full_report):
    narrow, wide = (report_sections(full_report, room) for room in Room)
    assert [section.title for section in narrow] == [section.title for section in wide]
    assert len(wide) == 14
    assert [section.headline.lower() for section in narrow] == [section.headline.lower() for section in wide]


@pytest.mark.parametrize("room", Room)
def test_every_row_of_a_table_has_a_cell_for_each_heading(full_report, room):
    for table in tables(full_report, room):
        assert {len(row) for row in table.rows} == {len(table.headings)}
        assert len(table.rows) <= room.value


def test_a_wide_view_shows_all_slices_and_marks_the_worse_ones(full_report):
    (wide,) = [table for table in tables(full_report, Room.WIDE) if table.headings[:2] == ("slice", "metric")]
    assert [row[0].split()[2] for row in wide.rows] == ["oil", "gas"]
    assert wide.marked == {0}


def test_what_drifted_stands_out_in_both_views(full_report):
    (wide,) = [table for table in tables(full_report, Room.WIDE) if table.headings[0] == "column" and table.marked]
    assert {wide.rows[place][0] for place in wide.marked} == {"range_21", "idle"}
    narrow = [row for table in tables(full_report, Room.NARROW) for row in table.rows if row[0] == "range_21"]
    assert any("DRIFTED (missing)" in row for row in narrow)


def test_every_drawing_has_one_place(full_report):
    drawings = [
        part for one in report_sections(full_report, Room.WIDE) for part in one.parts if isinstance(part, Drawing)
    ]
    assert sorted(one.name for one in drawings) == sorted(one.name for one in Drawing)


def test_nothing_known_is_no_section(full_report):
    assert report_sections(ModelReport(), Room.WIDE) == []
    assert report_sections(ModelReport(business=Business()), Room.NARROW) == []


def test_business_metrics_without_a_window_before_say_so(full_report):
    alone = replace(full_report.business, degradation=())
    (section,) = report_sections(ModelReport(business=alone), Room.NARROW)
    assert section.headline == "means a row; the window before has none"
