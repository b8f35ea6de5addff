"""Model families: the promises that each of them keeps on every task."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.domain.space import Categorical, Float, Int
from optagent.errors import CorruptBundle, Infeasible, InvalidData, InvalidRequest
from optagent.training.families.names import NAMES
from optagent.training.families.registry import FAMILIES, OURS, families_for, family_named
from optagent.training.metrics import METRICS

TRAIN, VALID = np.arange(0, 240), np.arange(240, 320)[::-1].copy()
EVERY = pytest.mark.parametrize("task", list(Task))
FAMILY = pytest.mark.parametrize("family", list(FAMILIES.values()), ids=list(FAMILIES))
FILES = {"lightgbm": "model.txt", "xgboost": "model.ubj", "catboost": "model.json"}


def _loss(y, prediction):
    """Log loss, or squared error."""
    if prediction.ndim == 2:
        return -np.mean(np.log(np.clip(prediction[np.arange(len(y)), y.astype(int)], 1e-9, 1)))
    if set(np.unique(y)) <= {0.0, 1.0}:
        return -np.mean(np.log(np.clip(np.where(y == 1, prediction, 1 - prediction), 1e-9, 1)))
    return np.mean((y - prediction) ** 2)


def _constant(y, task, k):
    if task is Task.REGRESSION:
        return np.full(len(VALID), y.mean())
    shares = np.bincount(y.astype(int), minlength=k) / len(y)
    return np.full(len(VALID), shares[1]) if task is Task.BINARY else np.tile(shares, (len(VALID), 1))


def _params(family, task, **changes):
    return {**family.defaults(task), **changes}


def _gentle(family, task):
    """Parameters that learn without overfitting a few hundred rows."""
    changes = {
        "lightgbm": {"learning_rate": 0.05, "num_leaves": 8},
        "xgboost": {"learning_rate": 0.05, "max_depth": 3},
        "catboost": {"depth": 4},
        "hist_gradient_boosting": {"learning_rate": 0.05, "max_leaf_nodes": 8},
    }
    return _params(family, task, **changes.get(family.name, {"min_samples_leaf": 3} if family.name != "linear" else {}))


def _rounds(family):
    return 27 if family.name == "linear" else 30


def _train(family, data, rounds=None, seed=0, **options):
    fit = family.start(_params(family, data.task), data, TRAIN, VALID, seed=seed, **options)
    fit.advance(rounds or _rounds(family))
    return fit


@FAMILY
@EVERY
def test_it_learns_what_a_constant_cannot_and_its_model_predicts_what_validation_saw(family, task, make_data):
    data = make_data(task)
    fit = family.start(_gentle(family, task), data, TRAIN, VALID)
    fit.advance(81 if family.name == "linear" else 60)
    prediction = fit.predict_valid()
    assert prediction.dtype == np.float64
    assert prediction.shape == ((80, 3) if task is Task.MULTICLASS else (80,))
    constant = _constant(data.y[TRAIN], task, data.n_classes)
    assert _loss(data.y[VALID], prediction) < 0.9 * _loss(data.y[VALID], constant)
    np.testing.assert_allclose(fit.model().predict(data.x[VALID]), prediction, rtol=1e-5, atol=1e-6)


@FAMILY
@EVERY
def test_a_loaded_model_predicts_bit_by_bit_what_the_saved_one_did(family, task, make_data, tmp_path):
    data = make_data(task)
    model = _train(family, data).model()
    unseen = data.x.copy()
    unseen[::3, 4] = 199.0
    unseen[1::3, 3] = np.nan
    before = model.predict(unseen)
    model.save(tmp_path)
    loaded = family.load(tmp_path, task, data.n_classes)
    np.testing.assert_array_equal(loaded.predict(unseen), before)
    np.testing.assert_array_equal(loaded.importances(), model.importances())
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)
    np.testing.assert_array_equal(family.load(again, task, data.n_classes).predict(unseen), before)


@FAMILY
@EVERY
def test_importances_are_shares_that_favour_the_columns_that_matter(family, task, make_data):
    importances = _train(family, make_data(task)).model().importances()
    assert importances.shape == (5,)
    assert (importances >= 0).all()
    assert importances.sum() == pytest.approx(1.0)
    assert importances[0] > importances[2]


@FAMILY
@EVERY
def test_steps_give_what_training_at_once_gives(family, task, make_data):
    data = make_data(task, weighted=True)
    at_once, stepwise = _train(family, data), _train(family, data, rounds=5)
    for rounds in (10, 11, _rounds(family)):
        stepwise.advance(rounds)
        stepwise.predict_valid()
    assert stepwise.rounds == at_once.rounds == _rounds(family)
    np.testing.assert_array_equal(stepwise.predict_valid(), at_once.predict_valid())


@FAMILY
@EVERY
def test_a_model_cut_back_is_the_model_as_it_was(family, task, make_data):
    data = make_data(task)
    fit = _train(family, data, rounds=7)
    early = fit.model().predict(data.x)
    fit.advance(20)
    assert not np.array_equal(fit.model().predict(data.x), early)
    np.testing.assert_array_equal(fit.model(7).predict(data.x), early)
    for rounds in (0, 21):
        with pytest.raises(InvalidRequest, match="rounds must be between 1 and the 20"):
            fit.model(rounds)


@FAMILY
def test_the_same_seed_gives_the_same_model_with_or_without_a_cache(family, make_data):
    data = make_data(Task.BINARY)
    cache = {}
    predictions = [
        _train(family, data, seed=3, cache=trial_cache, threads=threads).predict_valid()
        for trial_cache, threads in ((None, 1), (cache, 1), (cache, 1), (cache, 2))
    ]
    for other in predictions[1:]:
        np.testing.assert_array_equal(other, predictions[0])


@FAMILY
def test_another_seed_gives_another_model_where_there_is_chance(family, make_data):
    data = make_data(Task.REGRESSION)
    chance = {
        "lightgbm": {"bagging_fraction": 0.5},
        "xgboost": {"subsample": 0.5},
        "catboost": {"subsample": 0.5},
        "hist_gradient_boosting": {"max_features": 0.5},
    }
    predictions = []
    for seed in (0, 2**40 + 1):
        fit = family.start(chance.get(family.name, {}), data, TRAIN, VALID, seed=seed)
        fit.advance(20)
        predictions.append(fit.predict_valid())
    assert not np.array_equal(*predictions)


@FAMILY
@EVERY
def test_weights_matter_and_their_scale_does_not(family, task, make_data):
    """Half of the training rows lie; a hundredth of the weight silences them."""
    data = make_data(task)
    lying = np.isin(np.arange(320), TRAIN[::2])
    y = np.where(lying, -3.0 * data.y if task is Task.REGRESSION else data.n_classes - 1 - data.y, data.y)
    weight = np.where(lying, 1.0, 128.0)
    predictions = []
    for weights in (None, weight, weight * 1024.0):
        fit = family.start(_gentle(family, task), replace(data, y=y, weight=weights), TRAIN, VALID)
        fit.advance(_rounds(family))
        predictions.append(fit.predict_valid())
    plain, weighted, scaled = predictions
    np.testing.assert_array_equal(weighted, scaled)
    assert _loss(data.y[VALID], weighted) < 0.95 * _loss(data.y[VALID], plain)


@FAMILY
@EVERY
def test_defaults_lie_in_the_space_and_the_space_lies_in_the_limits(family, task):
    space, defaults = family.space(task), family.defaults(task)
    assert set(defaults) == set(space.names)
    for parameter in space:
        value = defaults[parameter.name]
        if isinstance(parameter, Categorical):
            assert value in parameter.choices
            continue
        assert parameter.low <= value <= parameter.high
        low, high = family.limits[parameter.name]
        assert low <= parameter.low < parameter.high <= high


def _sample(space, rng):
    values = {}
    for parameter in space:
        match parameter:
            case Categorical(choices=choices):
                values[parameter.name] = choices[rng.integers(len(choices))]
            case Float(low=low, high=high) | Int(low=low, high=high):
                log = parameter.log
                bounds = np.log([low, high]) if log else np.array([low, high])
                draw = rng.uniform(*bounds)
                value = float(np.clip(np.exp(draw) if log else draw, low, high))
                values[parameter.name] = round(value) if isinstance(parameter, Int) else value
    return values


@FAMILY
@EVERY
def test_whatever_the_space_holds_can_be_trained(family, task, make_data):
    data, rng, cache = make_data(task, weighted=True), np.random.default_rng(1), {}
    for _ in range(4):
        fit = family.start(_sample(family.space(task), rng), data, TRAIN, VALID, cache=cache)
        fit.advance(8)
        assert np.isfinite(fit.predict_valid()).all()


@FAMILY
def test_a_table_without_categories_is_learned(family, make_data):
    data = make_data(Task.BINARY, categorical=False)
    fit = _train(family, data)
    np.testing.assert_allclose(fit.model().predict(data.x[VALID]), fit.predict_valid(), rtol=1e-5, atol=1e-6)


@FAMILY
def test_training_rows_that_lack_a_class_are_infeasible(family, make_data):
    data = make_data(Task.MULTICLASS)
    with pytest.raises(Infeasible, match=r"of 3 classes, the training rows lack \[1\]"):
        family.start({}, data, np.flatnonzero(data.y != 1))


@FAMILY
def test_a_refused_parameter_is_infeasible_in_the_librarys_words(family, make_data):
    name = {"random_forest": "max_samples", "extra_trees": "min_samples_leaf", "linear": "C"}.get(
        family.name, "learning_rate"
    )
    with pytest.raises(Infeasible, match=name):
        family.start({name: -1.0}, make_data(Task.BINARY), TRAIN, VALID).advance(3)


@FAMILY
def test_an_unknown_parameter_is_refused_by_name(family, make_data):
    with pytest.raises(InvalidRequest, match=r"unknown parameter 'deepness'; one of \["):
        family.start({"deepness": 3}, make_data(Task.BINARY), TRAIN)


@FAMILY
def test_weights_that_are_no_weights_are_refused(family, make_data):
    data = make_data(Task.BINARY, weighted=True)
    data.weight[5] = -1.0
    with pytest.raises(InvalidData, match="weights must be finite and at least 0"):
        family.start({}, data, TRAIN).advance(1)


@FAMILY
def test_a_matrix_of_other_columns_is_refused(family, make_data):
    data = make_data(Task.BINARY)
    with pytest.raises(InvalidData, match="takes a matrix of 5 columns"):
        _train(family, data).model().predict(data.x[:, :4])


@FAMILY
def test_a_missing_garbled_truncated_or_foreign_file_is_refused(family, make_data, tmp_path):
    data = make_data(Task.BINARY)
    path = tmp_path / FILES.get(family.name, "model.skops")
    with pytest.raises(CorruptBundle):
        family.load(tmp_path, Task.BINARY, 2)
    _train(family, data).model().save(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    whole = path.read_bytes()
    for content in (b"", b"garbage", b"\x80\x04N.", whole[: len(whole) // 2], whole[:-20]):
        path.write_bytes(content)
        with pytest.raises(CorruptBundle):
            family.load(tmp_path, Task.BINARY, 2)
    path.write_bytes(whole)
    for task, classes in ((Task.MULTICLASS, 3), (Task.REGRESSION, 0)):
        with pytest.raises(CorruptBundle, match="is needed"):
            family.load(tmp_path, task, classes)


def test_a_family_is_ours_where_the_registry_has_it():
    assert set(OURS) == NAMES
    assert [family.name for family in OURS.values()] == list(OURS)


def test_the_registry_names_seven_families_for_every_task():
    assert sorted(FAMILIES) == [
        "catboost",
        "extra_trees",
        "hist_gradient_boosting",
        "lightgbm",
        "linear",
        "random_forest",
        "xgboost",
    ]
    assert all(FAMILIES[name].name == name for name in FAMILIES)
    assert all(families_for(task) == tuple(FAMILIES.values()) for task in Task)
    assert family_named("linear") is FAMILIES["linear"]
    with pytest.raises(InvalidRequest, match=r"unknown family 'boost'; one of \['catboost', .*'xgboost'\]"):
        family_named("boost")


def test_naming_the_families_loads_none_of_their_libraries():
    code = (
        "import sys; from optagent.training.families.registry import FAMILIES; from optagent.domain.model import Task;"
        "[family.space(task) for family in FAMILIES.values() for task in Task];"
        "print(sorted({'catboost', 'lightgbm', 'xgboost', 'sklearn', 'skops', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "hist_gradient_boosting", "catboost"])
def test_a_booster_answers_the_quantile_that_its_data_ask_for_and_its_file_keeps_it(name, make_data, tmp_path):
    family, data = family_named(name), replace(make_data(Task.REGRESSION, rows=900, categorical=False), quantile=0.9)
    train, valid = np.arange(600), np.arange(600, 900)
    fit, fit_of_mean = (
        family.start(_gentle(family, Task.REGRESSION), each, train, valid)
        for each in (data, replace(data, quantile=None))
    )
    fit.advance(60)
    fit_of_mean.advance(60)
    above, mean, model = fit.predict_valid(), fit_of_mean.predict_valid(), fit.model()
    assert 0.75 < (data.y[valid] <= above).mean() < 0.99
    loss = METRICS["pinball_90"].score
    assert loss(data.y[valid], above) < loss(data.y[valid], mean)
    model.save(tmp_path)
    loaded = family.load(tmp_path, Task.REGRESSION, 0)
    np.testing.assert_array_equal(loaded.predict(data.x[valid]), model.predict(data.x[valid]))


@FAMILY
@EVERY
def test_a_model_of_numbers_alone_is_loaded_as_it_was_saved(family, task, make_data, tmp_path):
    data = make_data(task, categorical=False)
    model = _train(family, data, rounds=3).model()
    model.save(tmp_path)
    loaded = family.load(tmp_path, task, data.n_classes)
    np.testing.assert_array_equal(loaded.predict(data.x[VALID]), model.predict(data.x[VALID]))
