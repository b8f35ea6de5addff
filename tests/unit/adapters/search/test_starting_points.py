"""A study asks its starting points before the sampler's own parameters, and none that cannot be trained here."""

from collections.abc import Mapping
from typing import Any

from optagent.adapters.search.starting_points import StartingPoints
from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.search.trial_store import RunningTrial, TrialStore
from optagent.domain.model import Task
from optagent.domain.space import Float, Int, SearchSpace
from optagent.domain.study import Study, Trial, TrialState

TREES = SearchSpace((Int("leaves", 4, 64, log=True), Float("rate", 0.01, 0.3, log=True)))
LINES = SearchSpace((Float("c", 1e-3, 1e3, log=True),))
POINTS = (
    ("trees", {"leaves": 8, "rate": 0.02}),
    ("lines", {"c": 10.0}),
    ("trees", {"leaves": 60, "rate": 0.25}),
)


def a_study(**changes: Any) -> Study:
    fields: dict[str, Any] = {
        "study_id": "s",
        "model_id": "m",
        "task": Task.BINARY,
        "metric": "auc",
        "maximize": True,
        "spaces": {"trees": TREES, "lines": LINES},
        "defaults": {"trees": {"leaves": 31, "rate": 0.1}, "lines": {"c": 1.0}},
        "sampler": "random",
        "starting_points": POINTS,
    }
    return Study(**(fields | changes))


def asked_by(store: TrialStore, count: int) -> list[tuple[str, Mapping[str, Any]]]:
    asked = [store.ask() for _ in range(count)]
    return [(trial.family, dict(trial.params)) for trial in asked]


def end(store: TrialStore, asked: RunningTrial, score: float = 0.5) -> None:
    store.tell(asked, Trial(asked.number, asked.family, asked.params, TrialState.COMPLETE, score))


def suggested_numbers(points: StartingPoints, trials: int) -> list[int]:
    return [number for number in range(trials) if points.next(number) is not None]


def test_they_follow_the_defaults_in_their_order():
    asked = asked_by(TrialStore(a_study(), None), 6)
    assert asked[2:5] == list(POINTS)
    assert asked[5] not in POINTS


def test_the_first_come_in_a_row_and_later_ones_in_turn_with_the_sampler():
    points = StartingPoints([("trees", {"leaves": leaves}) for leaves in range(100)], after=1, trials=100)
    numbers = suggested_numbers(points, 100)
    assert numbers[:20] == list(range(1, 21))
    assert numbers[20:23] == [22, 24, 26]
    assert len(numbers) == 49  # half of the trials after the first


def test_a_family_whose_first_two_cannot_be_trained_gets_no_more():
    points = StartingPoints([("trees", {"leaves": 1}), ("trees", {"leaves": 2}), *POINTS], after=0, trials=100)
    for number in range(2):
        points.next(number)
        points.record(Trial(number, "trees", {}, TrialState.INFEASIBLE))
    assert points.next(2) == {"c": 10.0}
    assert points.next(3) is None


def test_a_family_that_was_trained_goes_on_after_two_refusals():
    points = StartingPoints([("trees", {"leaves": leaves}) for leaves in range(10)], after=1, trials=100)
    points.record(Trial(0, "trees", {}, TrialState.COMPLETE, 0.5))
    for number in (1, 2):
        points.next(number)
        points.record(Trial(number, "trees", {}, TrialState.FAILED))
    assert points.next(3) is not None


def test_values_that_the_model_forbids_are_left_to_the_sampler():
    narrow = SearchSpace((Int("leaves", 4, 16), Float("rate", 0.01, 0.3, log=True)))
    store = TrialStore(a_study(spaces={"trees": narrow}, starting_points=POINTS[::2]), None)
    _, first, second = asked_by(store, 3)
    assert first == POINTS[0]
    assert second[1]["rate"] == 0.25
    assert 4 <= second[1]["leaves"] <= 16


def test_the_champion_is_not_asked_again():
    asked = asked_by(TrialStore(a_study(champion=POINTS[0]), None), 6)
    assert asked.count(POINTS[0]) == 1


def test_a_resumed_study_goes_on_with_those_that_were_not_asked(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    store = TrialStore(a_study(), open_storage(url))
    for _ in range(3):
        end(store, store.ask())
    store.close()
    asked = asked_by(TrialStore(a_study(), open_storage(url)), 2)
    assert asked == list(POINTS[1:])


def test_what_was_good_in_earlier_searches_of_the_model_comes_before_them(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    earlier = TrialStore(
        a_study(study_id="earlier", starting_points=(), champion=("lines", {"c": 77.0})), open_storage(url)
    )
    end(earlier, earlier.ask(), score=0.9)
    earlier.close()
    asked = asked_by(TrialStore(a_study(), open_storage(url)), 4)
    assert asked[2] == ("lines", {"c": 77.0})
    assert asked[3] == POINTS[0]


def test_a_member_of_the_portfolio_sampler_is_not_credited_with_them(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    storage = open_storage(url)
    store = TrialStore(a_study(sampler="portfolio"), storage)
    for _ in range(6):
        end(store, store.ask())
    store.close()
    trials = storage.get_all_trials(storage.get_study_id_from_name("s"))
    assert ["optagent:suggested_by" in trial.system_attrs for trial in trials] == [False] * 5 + [True]
