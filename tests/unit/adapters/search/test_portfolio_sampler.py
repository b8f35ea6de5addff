"""The members of a portfolio take turns on one study; who contributes gets more of them, and nobody gets none."""

import copy
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from optagent.adapters.search.portfolio_sampler import (
    SUGGESTED_BY,
    PortfolioMember,
    PortfolioSampler,
    gains_of,
    next_turn,
)
from optagent.adapters.search.samplers import sampler_named

SPACE = {
    "x": FloatDistribution(0.0, 1.0),
    "y": FloatDistribution(1e-3, 1.0, log=True),
    "n": IntDistribution(1, 9),
    "c": CategoricalDistribution(("a", "b")),
}


def bowl(params: dict[str, Any]) -> float:
    return -((params["x"] - 0.3) ** 2) - (params["n"] - 4) ** 2 / 50 - 0.1 * (params["c"] == "b")


def run_search(study: optuna.Study, score: Any, trials: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(trials):
        trial = study.ask(SPACE)
        asked.append(trial.params)
        study.tell(trial, score(trial.params))
    return asked


def a_study(seed: int = 0, **how: Any) -> optuna.Study:
    return optuna.create_study(sampler=sampler_named("portfolio", seed), **({"direction": "maximize"} | how))


def turns(study: optuna.Study) -> list[str]:
    return [trial.system_attrs[SUGGESTED_BY] for trial in study.trials]


class _Corner(RandomSampler):
    """Knows the answer."""

    def infer_relative_search_space(self, study, trial):
        return SPACE

    def sample_relative(self, study, trial, search_space):
        return {"x": 0.3, "y": 0.5, "n": 4, "c": "a"}


def test_the_first_member_spreads_the_first_trials_and_others_follow():
    study = a_study()
    run_search(study, bowl, 40)
    assert turns(study)[:10] == ["gp"] * 10
    assert len(set(turns(study)[10:])) > 1
    assert turns(study).count("gp") > turns(study).count("random")


def test_in_a_long_study_every_member_has_turns():
    expected = {"gp": 0.6, "tpe": 0.45, "hyperopt": 0.1, "random": 0.05}
    names, gains = ["gp"] * 10, [np.nan] * 10
    for _ in range(400):
        names.append(next_turn(names, np.array(gains), expected))
        gains.append(0.3)
    assert set(names[10:]) == set(expected)


@pytest.mark.parametrize("first", ["knows", "guesses"])
def test_turns_go_to_the_member_that_contributes(first):
    makers = {"knows": lambda seed: _Corner(seed=seed), "guesses": lambda seed: RandomSampler(seed=seed)}
    members = {name: PortfolioMember(makers[name], 0.3) for name in sorted(makers, key=lambda name: name != first)}
    study = optuna.create_study(sampler=PortfolioSampler(0, members), direction="maximize")
    scores = iter(np.linspace(0.0, 0.1, 90))
    run_search(study, lambda params: bowl(params) + float(next(scores)), 90)
    assert turns(study)[10:].count("knows") > 50
    assert turns(study)[10:].count("guesses") >= 1


def test_the_same_seed_asks_the_same_and_another_one_does_not():
    first, again, other = (run_search(a_study(seed), bowl, 20) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_finds_the_top_where_random_draws_do_not():
    found = a_study()
    run_search(found, bowl, 30)
    drawn = optuna.create_study(sampler=RandomSampler(seed=0), direction="maximize")
    run_search(drawn, bowl, 30)
    assert found.best_value > max(-1e-3, drawn.best_value)


def test_who_suggested_a_trial_is_kept_with_it(tmp_path):
    study = a_study()
    run_search(study, bowl, 14)
    backend = JournalFileBackend(str(tmp_path / "kept.log"))
    kept = optuna.create_study(storage=JournalStorage(backend), direction="maximize")
    kept.add_trials(study.trials)
    again = optuna.load_study(study_name=kept.study_name, storage=JournalStorage(backend))
    assert turns(again) == turns(study)


def test_a_resumed_study_goes_on_with_the_same_turns():
    whole = a_study(direction="maximize")
    run_search(whole, bowl, 31)
    resumed = a_study(direction="maximize")
    resumed.add_trials(whole.trials[:30])
    run_search(resumed, bowl, 1)
    assert turns(resumed) == turns(whole)


def by_family(trial: optuna.Trial) -> float:
    if trial.suggest_categorical("family", ("lines", "trees")) == "lines":
        return 0.5 - abs(trial.suggest_float("lines.c", 0.0, 1.0) - 0.5)
    return 1.0 - (trial.suggest_float("trees.rate", 0.0, 1.0) - 0.7) ** 2


def test_families_pending_pruned_and_failed_trials_are_taken():
    study = a_study()
    for number in range(40):
        trial = study.ask()
        score = by_family(trial)
        if number % 8 == 1:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 8 == 2:
            trial.report(score / 2, 3)
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 8 != 3:
            study.tell(trial, score)
    assert study.best_value > 0.99


def test_two_objectives_are_searched():
    study = a_study(direction=None, directions=["maximize", "minimize"])
    run_search(study, lambda params: (params["x"], params["x"] ** 2 + params["n"]), 24)
    assert len(study.best_trials) >= 3


def test_an_enqueued_trial_counts_for_nobody():
    study = a_study()
    study.enqueue_trial({"x": 0.3, "y": 0.5, "n": 4, "c": "a"})
    run_search(study, bowl, 14)
    assert SUGGESTED_BY not in study.trials[0].system_attrs
    assert all(SUGGESTED_BY in trial.system_attrs for trial in study.trials[1:])


def test_gains_count_those_that_beat_the_earlier_ones_and_nothing_for_a_failure():
    study = optuna.create_study(direction="maximize")
    values = np.array([*range(10), 20.0, np.nan, 4.5])
    for value in values:
        told = {"values": value} if np.isfinite(value) else {"state": TrialState.FAIL}
        study.tell(study.ask(), **told)
    gains = gains_of(study.trials, values)
    assert np.isnan(gains[:10]).all()
    assert gains[10] == 1.0
    assert gains[11] == 0.0
    assert 0.0 < gains[12] < 0.1


def test_a_member_without_gains_is_not_forgotten():
    expected = {"good": 0.3, "bad": 0.3}
    names, gains = ["good"] * 10, [np.nan] * 10
    for _ in range(200):
        name = next_turn(names, np.array(gains), expected)
        names.append(name)
        gains.append(1.0 if name == "good" else 0.0)
    assert 2 <= names[60:].count("bad") <= 20


def test_a_sampler_in_use_survives_a_copy():
    study = a_study()
    run_search(study, bowl, 14)
    again = a_study()
    again.add_trials(study.trials)
    again.sampler = copy.deepcopy(study.sampler)
    assert again.ask(SPACE).params == study.ask(SPACE).params
