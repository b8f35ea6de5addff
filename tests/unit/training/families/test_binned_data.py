"""Cache of binned data: it is reused between trials, bounded, and never serves other data."""

from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.training.families.binned import RecentValues, family_cache
from optagent.training.families.registry import family_named


def test_only_the_most_recently_used_are_kept():
    recent, builds = RecentValues(2), []
    for key in "abacab":
        recent.get(key, lambda key=key: builds.append(key))
    assert builds == ["a", "b", "c", "b"]
    assert len(recent) == 2


def test_other_data_empties_the_cache(make_data):
    first, cache = make_data(Task.BINARY), {}
    family_cache(cache, "lightgbm", first, 2).get("key", lambda: 1)
    assert len(family_cache(cache, "lightgbm", first, 2)) == 1
    assert len(family_cache(cache, "lightgbm", replace(first), 2)) == 0


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_trials_in_turn_on_shared_bins_are_each_as_if_alone(name, make_data):
    """Boosters that read the same binned rows, of several bin counts and folds, do not disturb each other."""
    data, cache, family = make_data(Task.BINARY, weighted=True), {}, family_named(name)
    bins = family.space(Task.BINARY).parameters[-1].choices
    folds = [(np.arange(200), np.arange(200, 320)), (np.arange(120, 320), np.arange(120))]
    trials = [(folds[i % 2], {"max_bin": bins[i % 3], "learning_rate": 0.05 * (i + 1)}) for i in range(6)]

    def run(trial_cache):
        fits = [family.start(params, data, *fold, cache=trial_cache) for fold, params in trials]
        for rounds in (3, 6):
            for fit in fits:
                fit.advance(rounds)
        return [fit.predict_valid() for fit in fits]

    for shared, alone in zip(run(cache), run(None), strict=True):
        np.testing.assert_array_equal(shared, alone)
    assert len(cache[name][1]) == 2
