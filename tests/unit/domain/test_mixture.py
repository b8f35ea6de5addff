from dataclasses import replace

import pytest

from optagent.domain.mixture import MixturePoint, MixtureRecord, MixtureWeights, SlotTraining
from optagent.domain.model import Task
from optagent.errors import InvalidRequest

SLOTS = ("all", "1/4", "1/16")


def record(learned, trained=None, weights=(0.5, 0.2, 0.2)):
    point = MixturePoint(0.0, learned, 0.0, SLOTS, (0.0, 0.0, 0.0), weights)
    return MixtureRecord("churn", 0.0, {"rows": learned}, trained=trained or {}, history=(point,))


def trained(learned=0):
    sizes = {"all": 1600, "1/4": 400, "1/16": 100}
    return {name: SlotTraining(rows, learned) for name, rows in sizes.items()}


def test_a_slot_without_a_model_of_its_own_is_due_at_once():
    assert record(0).due_slots(SLOTS, 0.1) == SLOTS


def test_a_small_slot_is_due_once_two_thirds_of_its_rows_are_new():
    assert record(66, trained()).due_slots(SLOTS, 0.1) == ()
    assert record(67, trained()).due_slots(SLOTS, 0.1) == ("1/16",)


def test_a_large_slot_is_due_once_all_rows_have_grown():
    assert record(177, trained()).due_slots(SLOTS, 0.1) == ("1/16",)
    assert record(178, trained()).due_slots(SLOTS, 0.1) == SLOTS


def test_a_slot_that_hardly_answers_waits_for_twice_as_many_rows():
    light = record(178, trained(), weights=(0.9, 0.01, 0.04))
    assert light.due_slots(SLOTS, 0.1) == ("all", "1/16")
    assert record(67, trained(), weights=(0.9, 0.01, 0.04)).due_slots(SLOTS, 0.1) == ()


def test_rows_count_from_each_slots_own_training():
    of_slots = {**trained(), "1/16": SlotTraining(100, 150)}
    assert record(178, of_slots).due_slots(SLOTS, 0.1) == ("all", "1/4")


def test_weights_need_a_version_for_each_slot():
    weights = MixtureWeights(Task.BINARY, ("champion",), ("1",), ((1.0, 0.0),), ((1.0,),), (1.0,))
    with pytest.raises(InvalidRequest, match="a version for each slot"):
        replace(weights, versions=())
    with pytest.raises(InvalidRequest, match=r"guard must be from 0 to 1, got 1\.5"):
        replace(weights, guard=1.5)
