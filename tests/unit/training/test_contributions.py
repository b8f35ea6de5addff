import numpy as np
import pytest

from optagent.domain.model import Task
from optagent.errors import InvalidData
from optagent.training.contributions import Explains, contributions
from optagent.training.families.family import FittedModel
from optagent.training.families.lightgbm_family import LightGBM
from optagent.training.families.registry import FAMILIES
from optagent.training.families.xgboost_family import XGBoost
from optagent.training.metrics import METRICS
from optagent.training.problem import Data

ROWS = 600
TREES = [LightGBM(), XGBoost()]


def data_of(task: Task) -> Data:
    """The first column decides, the second, a category, helps, the third is noise; some values are missing."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=ROWS), rng.integers(0, 4, ROWS), rng.normal(size=ROWS)]).astype(np.float32)
    signal = 3 * x[:, 0] + 3 * (x[:, 1] == 2) + rng.normal(scale=0.5, size=ROWS)
    x[rng.random(x.shape) < 0.05] = np.nan
    edges = {Task.BINARY: [0.0], Task.MULTICLASS: [-1.5, 1.5], Task.REGRESSION: []}[task]
    y = np.searchsorted(edges, signal).astype(np.float64) if edges else signal.astype(np.float64)
    return Data(x, y, ("a", "b", "c"), task, (1,), (4,), len(edges) + 1 if edges else 0)


def train_model(family: LightGBM | XGBoost, task: Task) -> FittedModel:
    data = data_of(task)
    fit = family.start(family.defaults(task), data, np.arange(ROWS))
    fit.advance(20)
    return fit.model()


@pytest.mark.parametrize("family", TREES, ids=lambda family: family.name)
@pytest.mark.parametrize("task", list(Task))
def test_trees_explain_themselves_column_by_column(family: LightGBM | XGBoost, task: Task) -> None:
    model, x = train_model(family, task), data_of(task).x
    assert isinstance(model, Explains)
    assert model.contributions(x).shape == (ROWS, 3)
    effects = contributions(model, x)
    assert effects[0] > effects[1] > effects[2] >= 0


@pytest.mark.parametrize("family", TREES, ids=lambda family: family.name)
def test_contributions_add_up_to_the_prediction(family: LightGBM | XGBoost) -> None:
    model, x = train_model(family, Task.REGRESSION), data_of(Task.REGRESSION).x
    assert isinstance(model, Explains)
    expected = model.predict(x) - model.contributions(x).sum(axis=1)
    assert expected == pytest.approx(np.full(ROWS, expected[0]), abs=1e-3)


@pytest.mark.parametrize("family", TREES, ids=lambda family: family.name)
def test_other_columns_than_the_model_has_are_refused(family: LightGBM | XGBoost) -> None:
    model = train_model(family, Task.BINARY)
    assert isinstance(model, Explains)
    with pytest.raises(InvalidData):
        model.contributions(np.zeros((5, 2), np.float32))


class Linear:
    """Knows nothing of contributions."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(3.0 * np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]))))


@pytest.mark.parametrize("labelled", [True, False])
def test_columns_of_other_models_are_permuted(labelled: bool) -> None:
    data = data_of(Task.BINARY)
    effects = contributions(Linear(), data.x, data.y if labelled else None, METRICS["auc"])
    assert effects[0] > 2 * effects[1] > 0
    assert effects[2] == 0
    again = contributions(Linear(), data.x, data.y if labelled else None, METRICS["auc"])
    assert effects.tolist() == again.tolist()


def test_probabilities_of_several_classes_are_permuted_too() -> None:
    class Softmax:
        def predict(self, x: np.ndarray) -> np.ndarray:
            powers = np.exp(np.column_stack([np.nan_to_num(x[:, 0]), np.zeros(len(x)), -np.nan_to_num(x[:, 0])]))
            return powers / powers.sum(axis=1, keepdims=True)

    effects = contributions(Softmax(), data_of(Task.MULTICLASS).x)
    assert effects[0] > 0
    assert effects[1] == effects[2] == 0


class Counting(Linear):
    """A model that notes the rows of each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, x: np.ndarray) -> np.ndarray:
        self.calls.append(len(x))
        return super().predict(x)


def test_all_permutations_of_a_few_rows_are_predicted_in_one_call() -> None:
    model = Counting()
    contributions(model, np.zeros((5000, 2), np.float32), most_rows=100)
    assert model.calls == [100, 200]


def test_a_call_is_bounded_however_many_columns_there_are() -> None:
    model = Counting()
    effects = contributions(model, np.zeros((2000, 25), np.float32))
    assert max(model.calls) == 20_000
    assert sum(model.calls) == 2000 * 26
    assert effects.shape == (25,)


def test_few_rows_and_few_labels_do_not_crash() -> None:
    data = data_of(Task.BINARY)
    assert contributions(Linear(), data.x[:0]).tolist() == [0, 0, 0]
    assert contributions(Linear(), data.x[:1]).tolist() == [0, 0, 0]
    assert contributions(Linear(), data.x, np.full(ROWS, np.nan), METRICS["auc"]).tolist() == [0, 0, 0]
    assert contributions(Linear(), data.x, np.ones(ROWS), METRICS["auc"]).tolist() == [0, 0, 0]
    with pytest.raises(InvalidData, match="3 labels for 600 rows"):
        contributions(Linear(), data.x, np.ones(3), METRICS["auc"])


def test_every_family_has_contributions_of_one_kind_or_the_other() -> None:
    data = data_of(Task.BINARY)
    for family in FAMILIES.values():
        fit = family.start(family.defaults(Task.BINARY), data, np.arange(ROWS))
        fit.advance(1)
        effects = contributions(fit.model(), data.x, most_rows=50)
        assert effects.shape == (3,), family.name
        assert np.isfinite(effects).all(), family.name
