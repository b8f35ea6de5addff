"""HyperOpt's TPE over Optuna's trials: every kind of parameter there and back, families, pending, pruned and failed."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import optuna
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from optagent.adapters.search.hyperopt_sampler import HyperoptSampler

MIXED = {
    "rate": FloatDistribution(0.01, 1.0, log=True),
    "share": FloatDistribution(0.4, 1.0),
    "leaves": IntDistribution(4, 64, log=True),
    "depth": IntDistribution(1, 12),
    "bins": CategoricalDistribution((63, 127, 255)),
    "half": FloatDistribution(0.0, 3.0, step=0.5),
    "even": IntDistribution(2, 10, step=2),
    "only": IntDistribution(5, 5),
}


def near(params: dict[str, Any]) -> float:
    return -abs(math.log(params["rate"] / 0.1)) - abs(params["depth"] - 4) / 4 - 2 * (params["bins"] != 127)


def a_study(seed: int = 0, **how: Any) -> optuna.Study:
    return optuna.create_study(sampler=HyperoptSampler(seed), **({"direction": "maximize"} | how))


def run_search(study: optuna.Study, score: Any, trials: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(trials):
        trial = study.ask(MIXED)
        asked.append(trial.params)
        study.tell(trial, score(trial.params))
    return asked


def test_it_learns_where_good_trials_are():
    found = [near(params) for params in run_search(a_study(), near, 45)]
    assert np.median(found[30:]) > np.median(found[:20]) + 1.0


def test_it_suggests_what_hyperopt_itself_does_from_the_same_trials_and_seed():
    from hyperopt import Trials, fmin, hp, tpe
    from hyperopt.base import Domain

    space = {"x": hp.uniform("x", 0, 1), "y": hp.loguniform("y", math.log(0.01), 0.0)}
    distributions = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0.01, 1, log=True)}
    own = Trials()
    how = {"max_evals": 24, "trials": own, "rstate": np.random.default_rng(0), "show_progressbar": False}
    fmin(lambda params: params["x"] + params["y"], space, algo=tpe.suggest, verbose=False, **how)
    study = a_study(seed=5, direction="minimize")
    for doc in own.trials:
        params = {name: float(value[0]) for name, value in doc["misc"]["vals"].items()}
        study.add_trial(create_trial(params=params, distributions=distributions, value=doc["result"]["loss"]))
    seed = int(np.random.default_rng((5, 24)).integers(2**31))
    (doc,) = tpe.suggest([24], Domain(None, space), own, seed, verbose=False)
    assert study.ask(distributions).params == {name: value[0] for name, value in doc["misc"]["vals"].items()}


def test_minimising_is_maximising_the_negative():
    down = a_study(direction="minimize")
    assert run_search(a_study(), near, 23) == run_search(down, lambda params: -near(params), 23)


def test_the_same_seed_asks_the_same_and_another_one_does_not():
    first, again, other = (run_search(a_study(seed), near, 24) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), scores=st.lists(st.floats(allow_nan=True, width=32), min_size=23, max_size=23))
def test_bounds_hold_whatever_the_scores(seed, scores):
    study = a_study(seed)
    for score in scores:
        trial = study.ask(MIXED)
        for name, value in trial.params.items():
            assert MIXED[name]._contains(MIXED[name].to_internal_repr(value))
            assert isinstance(value, int) == isinstance(MIXED[name], IntDistribution | CategoricalDistribution)
        study.tell(trial, None if math.isnan(score) else score, state=TrialState.FAIL if math.isnan(score) else None)


def by_family(trial: optuna.Trial) -> float:
    if trial.suggest_categorical("family", ("lines", "trees")) == "lines":
        return 0.5 - abs(trial.suggest_float("lines.c", 0.0, 1.0) - 0.5)
    return 1.0 - (trial.suggest_float("trees.rate", 0.0, 1.0) - 0.7) ** 2 - (trial.suggest_int("trees.x", 1, 1) - 1)


def test_families_are_a_choice_with_parameters_of_their_own():
    study = a_study()
    study.optimize(by_family, n_trials=60)
    families = [trial.params["family"] for trial in study.trials]
    assert families[:20].count("lines") >= 3
    assert families[30:].count("trees") > 20
    study.enqueue_trial({"family": "lines"})
    study.optimize(by_family, n_trials=1)
    assert set(study.trials[-1].params) == {"family", "lines.c"}


def test_pending_pruned_and_failed_trials_are_taken():
    study = a_study()
    pending = []
    for number in range(36):
        trial = study.ask(MIXED)
        if number % 6 == 1:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 6 == 2:
            trial.report(near(trial.params), 3)
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 6 == 3:
            pending.append(trial)
        else:
            study.tell(trial, near(trial.params))
    assert len({tuple(trial.params.values()) for trial in pending}) == len(pending)


def test_two_objectives_are_weighed_anew_each_time():
    study = a_study(direction=None, directions=["maximize", "minimize"])
    run_search(study, lambda params: (params["share"], params["share"] ** 2), 30)
    assert len(study.best_trials) > 5


def test_importing_the_sampler_does_not_load_hyperopt():
    code = "import sys, optagent.adapters.search.hyperopt_sampler; sys.exit('hyperopt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
