"""The trial store gives each family its defaults first, and keeps what came of every trial."""

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState as OptunaState

from optagent.adapters.search.samplers import SAMPLERS, sampler_named
from optagent.adapters.search.trial_store import TrialStore, open_storage
from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int, SearchSpace
from optagent.domain.study import METHODS, Study, Trial, TrialState
from optagent.errors import InvalidRequest, Unavailable

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


def ended(asked, state: TrialState, score: float | None = None, error: str | None = None) -> Trial:
    return Trial(asked.number, asked.family, asked.params, state, score, error=error)


def test_the_defaults_of_each_family_come_first():
    store = TrialStore(a_study(), None)
    first, second, third = store.ask(), store.ask(), store.ask()
    assert (first.family, dict(first.params)) == ("lines", {"c": 1.0, "penalty": "l2"})
    assert (second.family, dict(second.params)) == ("trees", {"leaves": 31, "rate": 0.1})
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
            store.measure(asked, 3, score - 0.1)
            store.measure(asked, 9, score)
            store.measure(asked, 9, 0.0)  # a worker that was restarted measures again: the first one counts
        store.tell(asked, ended(asked, state, score, error))
    kept = optuna.load_study(study_name="s", storage=RDBStorage(url)).trials
    assert [trial.state for trial in kept] == [OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.FAIL]
    assert [trial.value for trial in kept] == [0.8, 0.6, None]
    assert kept[1].intermediate_values == {3: 0.5, 9: 0.6}
    assert kept[2].user_attrs["error"] == "leaves too many"


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_same_seed_asks_the_same(name):
    def asked(seed: int) -> list[dict]:
        store = TrialStore(a_study(sampler=name, seed=seed, spaces={"trees": TREES}), None)
        found = []
        for number in range(15):
            trial = store.ask()
            found.append(dict(trial.params))
            store.tell(trial, ended(trial, TrialState.COMPLETE, 1.0 / (1 + number)))
        return found

    assert asked(1) == asked(1)
    assert asked(1) != asked(2)


def test_tpe_learns_where_good_trials_are():
    store = TrialStore(a_study(spaces={"trees": TREES}, trials=60), None)
    leaves = []
    for _ in range(60):
        asked = store.ask()
        leaves.append(asked.params["leaves"])
        store.tell(asked, ended(asked, TrialState.COMPLETE, -abs(asked.params["leaves"] - 12.0)))
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
