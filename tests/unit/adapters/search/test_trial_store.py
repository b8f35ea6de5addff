"""The trial store gives each family its defaults first, and keeps what came of every trial."""

from dataclasses import replace

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState as OptunaState

from optagent.adapters.search.samplers import SAMPLERS, sampler_named
from optagent.adapters.search.trial_storage import NewStorage, find_storage, open_storage
from optagent.adapters.search.trial_store import TrialStore
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.domain.study import METHODS, Objective, Study, Trial, TrialState
from optagent.errors import Conflict, InvalidRequest, Unavailable

TREES = SearchSpace((Int("leaves", 4, 64, log=True), Float("rate", 0.01, 0.3, log=True)))
LINES = SearchSpace((Float("c", 1e-3, 1e3, log=True), Categorical("penalty", ("l1", "l2"))))


def a_study(**changes) -> Study:
    fields = {
        "study_id": "s",
        "model_id": "m",
        "task": Task.BINARY,
        "metric": "auc",
        "maximize": True,
        "spaces": {"trees": TREES, "lines": LINES},
        "defaults": {"trees": {"leaves": 31, "rate": 0.1}, "lines": {"c": 1.0, "penalty": "l2"}},
    }
    return Study(**(fields | changes))


def ended_trial(asked, state: TrialState, score: float | None = None, error: str | None = None) -> Trial:
    return Trial(asked.number, asked.family, asked.params, state, score, error=error)


def test_the_defaults_of_each_family_come_first_in_the_order_of_the_spaces():
    store = TrialStore(a_study(), None)
    first, second, third = store.ask(), store.ask(), store.ask()
    assert (first.family, dict(first.params)) == ("trees", {"leaves": 31, "rate": 0.1})
    assert (second.family, dict(second.params)) == ("lines", {"c": 1.0, "penalty": "l2"})
    assert third.family in ("trees", "lines")


def test_a_default_outside_an_overridden_space_is_drawn_instead():
    narrow = SearchSpace((Int("leaves", 4, 8), Float("rate", 0.01, 0.3, log=True)))
    asked = TrialStore(a_study(spaces={"trees": narrow}), None).ask()
    assert asked.params["rate"] == 0.1
    assert 4 <= asked.params["leaves"] <= 8


def test_what_came_of_each_trial_is_kept_in_the_storage(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    store = TrialStore(a_study(), open_storage(url))
    for state, score, error in (
        (TrialState.COMPLETE, 0.8, None),
        (TrialState.PRUNED, 0.6, None),
        (TrialState.INFEASIBLE, None, "leaves too many"),
    ):
        asked = store.ask()
        if score is not None:
            store.measure(asked, 3, (score - 0.1,))
            store.measure(asked, 9, (score,))
            store.measure(asked, 9, (0.0,))  # a worker that was restarted measures again: the first one counts
        store.tell(asked, ended_trial(asked, state, score, error))
    store.close()
    kept = optuna.load_study(study_name="s", storage=RDBStorage(url)).trials
    assert [trial.state for trial in kept] == [OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL]
    assert [trial.value for trial in kept] == [0.8, 0.6, None]
    assert kept[1].intermediate_values == {3: 0.5, 9: 0.6}
    assert kept[2].user_attrs["error"] == "leaves too many"


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_same_seed_asks_the_same(name):
    def ask_params(seed: int) -> list[dict]:
        store = TrialStore(a_study(sampler=name, seed=seed, spaces={"trees": TREES}), None)
        found = []
        for number in range(15):
            trial = store.ask()
            found.append(dict(trial.params))
            store.tell(trial, ended_trial(trial, TrialState.COMPLETE, 1.0 / (1 + number)))
        return found

    assert ask_params(1) == ask_params(1)
    assert ask_params(1) != ask_params(2)


def test_tpe_learns_where_good_trials_are():
    store = TrialStore(a_study(spaces={"trees": TREES}, trials=60), None)
    leaves = []
    for _ in range(60):
        asked = store.ask()
        leaves.append(asked.params["leaves"])
        store.tell(asked, ended_trial(asked, TrialState.COMPLETE, -abs(asked.params["leaves"] - 12.0)))
    late = leaves[30:]
    assert sum(abs(value - 12) <= 4 for value in late) > len(late) / 2


def test_every_method_has_its_sampler_and_an_unknown_one_lists_them():
    assert set(METHODS.values()) == set(SAMPLERS)
    with pytest.raises(InvalidRequest, match="unknown sampler 'grid'; one of"):
        sampler_named("grid", 0)


def test_a_storage_that_cannot_be_opened_is_named_without_its_password(tmp_path):
    with pytest.raises(Unavailable, match=r"trials\.db") as said:
        open_storage(f"sqlite:///{tmp_path / 'nowhere' / 'trials.db'}")
    assert "trial store" in str(said.value)
    with pytest.raises(Unavailable) as said:
        open_storage("postgresql+nodriver://me:hunter2@db/trials")
    assert "hunter2" not in str(said.value)


def test_a_study_goes_on_with_the_numbers_that_are_missing(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    study = a_study(trials=5, spaces={"trees": TREES})
    first = TrialStore(study, open_storage(url))
    asked = [first.ask() for _ in range(4)]
    for one in (asked[3], asked[1]):  # 0 and 2 were running when the search was killed
        first.measure(one, 3, (0.7,))
        first.tell(one, ended_trial(one, TrialState.COMPLETE, 0.7))
    first.close()
    again = TrialStore(study, open_storage(url))
    assert sorted(trial.number for trial in again.earlier_trials) == [1, 3]
    assert again.measured == {1: {3: (0.7,)}, 3: {3: (0.7,)}}
    rest = []
    while not again.is_exhausted:
        rest.append(again.ask())
        again.tell(rest[-1], ended_trial(rest[-1], TrialState.COMPLETE, 0.6))
    again.close()
    assert [one.number for one in rest] == [0, 2, 4]
    assert dict(rest[0].params) == {"leaves": 31, "rate": 0.1}  # the defaults were lost with their worker
    assert TrialStore(study, open_storage(url)).is_exhausted
    assert dict(rest[1].params) != dict(asked[2].params)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_digest": "other"}, "data"),
        ({"metric": "log_loss", "maximize": False}, "objectives"),
        ({"spaces": {"trees": TREES}}, "spaces"),
        ({"model_id": "other"}, "model"),
    ],
)
def test_a_study_made_of_something_else_does_not_go_on(tmp_path, change, said):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    TrialStore(a_study(), open_storage(url))
    with pytest.raises(Conflict, match=f"made with another {said}: start a new search"):
        TrialStore(a_study(**change), open_storage(url))


def test_several_objectives_are_kept_with_early_stopped_trials(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    study = a_study(others=(Objective("latency_p99_ms", False),), trials=30, spaces={"trees": TREES})
    store = TrialStore(study, open_storage(url))
    for number in range(30):
        asked = store.ask()
        store.measure(asked, 3, (0.5, 2.0))
        state = TrialState.PRUNED if number % 3 else TrialState.COMPLETE
        trial = ended_trial(asked, state, 0.5 + number / 100)
        store.tell(asked, replace(trial, others={"latency_p99_ms": 2.0}))
    store.close()
    kept = optuna.load_study(study_name="s", storage=RDBStorage(url)).trials
    assert kept[0].values == [0.5, 2.0]
    assert kept[1].state is OptunaState.PRUNED


def a_finished_study(url: str, study_id: str, scores: dict[float, float]) -> None:
    study = a_study(study_id=study_id, spaces={"trees": TREES}, trials=len(scores), sampler="random")
    store = TrialStore(study, open_storage(url))
    for rate, score in scores.items():
        asked = store.ask()
        trial = ended_trial(asked, TrialState.COMPLETE, score)
        store.tell(asked, replace(trial, params={"leaves": 20, "rate": rate}))
    store.close()


@pytest.mark.parametrize("helps", [True, False])
def test_a_later_study_tries_what_was_good_before_for_as_long_as_it_helps(tmp_path, helps):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    a_finished_study(url, "before", {0.02: 0.6, 0.05: 0.9, 0.2: 0.7, 0.25: 0.8, 0.3: 0.5})
    store = TrialStore(
        a_study(study_id="after", spaces={"trees": TREES}, sampler="random", trials=20), open_storage(url)
    )
    rates = []
    for number in range(20):
        asked = store.ask()
        rates.append(asked.params["rate"])
        from_before = number % 2 == 1
        store.tell(asked, ended_trial(asked, TrialState.COMPLETE, 0.9 if from_before == helps else 0.4))
    assert rates[1] == 0.05  # the best, then a neighbour of it, then the second best
    assert 0.045 < rates[3] < 0.075
    assert rates[5] == 0.25
    assert (0.2 in rates) is helps  # the third is tried only where the first three were of use


def test_transfer_can_be_switched_off(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    a_finished_study(url, "before", {0.05: 0.9})
    store = TrialStore(a_study(study_id="after", spaces={"trees": TREES}, transfer=False), open_storage(url))
    assert 0.05 not in [store.ask().params["rate"] for _ in range(4)]


def test_a_new_file_is_made_while_trials_are_asked_and_found_by_the_next_search(tmp_path):
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    new = find_storage(url)
    assert isinstance(new, NewStorage)
    store = TrialStore(a_study(), new)
    asked = store.ask()
    store.tell(asked, ended_trial(asked, TrialState.COMPLETE, 0.8))
    store.close()
    again = TrialStore(a_study(), find_storage(url))
    assert [(trial.number, trial.score) for trial in again.earlier_trials] == [(0, 0.8)]


def test_a_new_file_that_cannot_be_made_ends_the_search_by_name(tmp_path):
    with pytest.raises(Unavailable, match=r"no such folder"):
        find_storage(f"sqlite:///{tmp_path / 'missing' / 'trials.db'}")
    new = find_storage(f"sqlite:///{tmp_path / 'trials.db'}")
    (tmp_path / "trials.db").mkdir()
    store = TrialStore(a_study(), new)
    with pytest.raises(Unavailable, match=r"trials\.db cannot be opened"):
        store.close()
