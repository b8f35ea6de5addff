import pytest

from optagent.domain.slot import DEFAULT_SLOTS, Slot, check_slots, parse_slot
from optagent.errors import InvalidRequest


def test_slots_are_read_from_their_names():
    assert parse_slot("champion") == Slot("champion")
    assert parse_slot("all").share == 1.0
    assert parse_slot("1/4").share == 0.25
    assert parse_slot("36h").window_s == 36 * 3600
    assert parse_slot("12").version == "12"


@pytest.mark.parametrize("text", ["", "1/0", "1/1", "2/3", "0", "newest", "-3d", None, 4])
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidRequest, match="slots: unknown"):
        parse_slot(text)


def test_only_shares_and_durations_are_trained_again():
    assert [parse_slot(name).is_trained for name in ("champion", "all", "90d", "3")] == [False, True, True, False]


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["champion"], "2 to 8"),
        (["champion", "all", "all"], "twice"),
        (["all", "1/4"], "'champion' is needed"),
        (["champion", *[f"{day}d" for day in range(1, 9)]], "2 to 8"),
    ],
)
def test_a_mixture_needs_slots_that_differ_and_the_champion(names, rule):
    with pytest.raises(InvalidRequest, match=rule):
        check_slots(names)


def test_the_slots_of_a_mixture_that_names_none_are_allowed():
    check_slots(DEFAULT_SLOTS)
