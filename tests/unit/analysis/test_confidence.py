import numpy as np
import pytest

from optagent.analysis.bootstrap import Resampling
from optagent.analysis.confidence import certainty, confidence, uncertain_slices
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.codec import decode, encode
from optagent.domain.model import Task
from optagent.domain.performance import ModelConfidence
from optagent.training.metrics import METRICS

ERROR = METRICS["calibration_error"]
QUICK = Resampling(resamples=50, time_ordered=True)
REGION = ObservedColumn("region", "categorical", ("north", "south"))


def rows_of(prediction: np.ndarray, y: np.ndarray | None = None, region: np.ndarray | None = None) -> ObservedRows:
    rows = len(prediction)
    x = np.zeros((rows, 1), np.float32) if region is None else region.reshape(-1, 1).astype(np.float32)
    y = np.full(rows, np.nan) if y is None else y
    task = Task.BINARY if prediction.ndim == 1 else Task.MULTICLASS
    return ObservedRows(task, (REGION,), x, prediction, y, np.arange(rows, dtype=float), np.full(rows, np.nan), 2)


def calibrated_rows(rows: int, seed: int = 0) -> ObservedRows:
    rng = np.random.default_rng(seed)
    prediction = rng.random(rows)
    return rows_of(prediction, (rng.random(rows) < prediction).astype(np.float64))


def test_a_calibrated_model_lies_on_the_diagonal() -> None:
    result = certainty(calibrated_rows(5000), 0.8, ERROR, how=QUICK)
    assert len(result.curve) == 10
    assert sum(point.rows for point in result.curve) == 5000
    assert all(abs(point.predicted - point.observed) < 0.07 for point in result.curve)
    assert result.calibration_error is not None
    assert result.calibration_error.value is not None
    assert result.calibration_error.value < 0.03


def test_a_model_that_claims_too_much_has_the_error_of_its_claim() -> None:
    rng = np.random.default_rng(0)
    result = certainty(rows_of(np.full(2000, 0.9), (rng.random(2000) < 0.6).astype(np.float64)), 0.8, ERROR, how=QUICK)
    assert len(result.curve) == 1
    assert result.calibration_error is not None
    assert result.calibration_error.value == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize(
    ("prediction", "entropy", "uncertain"),
    [
        (np.array([0.5, 0.5]), 1.0, 1.0),
        (np.array([0.0, 1.0]), 0.0, 0.0),
        (np.array([0.75, 0.05]), 0.5488, 0.5),
        (np.full((2, 4), 0.25), 1.0, 1.0),
        (np.eye(4)[:2], 0.0, 0.0),
    ],
)
def test_entropy_and_the_uncertain_share(prediction: np.ndarray, entropy: float, uncertain: float) -> None:
    result = certainty(rows_of(prediction), 0.8, ERROR)
    assert result.entropy == pytest.approx(entropy, abs=1e-4)
    assert result.uncertain == uncertain
    assert result.curve == ()


def test_the_slice_in_doubt_is_named() -> None:
    rng = np.random.default_rng(0)
    region = rng.integers(0, 2, 1000)
    sure = rng.random(1000) < np.where(region == 1, 0.5, 0.8)
    slices = uncertain_slices(rows_of(np.where(sure, 0.95, 0.6), region=region), 0.8, ["region"])
    assert [(one.column, one.value) for one in slices] == [("region", "south")]
    assert slices[0].uncertain == pytest.approx(0.5, abs=0.08)
    assert slices[0].rest == pytest.approx(0.2, abs=0.08)


def test_equal_slices_are_rarely_named() -> None:
    false_alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        prediction = np.where(rng.random(300) < 0.7, 0.95, 0.6)
        false_alarms += bool(uncertain_slices(rows_of(prediction, region=rng.integers(0, 2, 300)), 0.8, ["region"]))
    assert false_alarms <= 10 + 3 * 3  # Benjamini-Hochberg at .05 on 200 worlds, three standard deviations


@pytest.mark.parametrize("rows", [0, 1, 20])
def test_few_rows_do_not_crash(rows: int) -> None:
    result = confidence(calibrated_rows(rows), certainty(calibrated_rows(rows), 0.8, ERROR), 0.8, ERROR, ["region"])
    assert result is not None
    assert result.current.rows == rows
    assert result.current.curve == ()
    assert result.slices == ()
    assert decode(ModelConfidence, encode(result)) == result


def test_unusable_predictions_are_left_out() -> None:
    observed = calibrated_rows(100)
    observed.prediction[:30] = np.nan
    assert certainty(observed, 0.8, ERROR, how=QUICK).rows == 70


def test_a_regression_has_no_confidence() -> None:
    plain = np.zeros(50)
    regression = ObservedRows(Task.REGRESSION, (REGION,), np.zeros((50, 1), np.float32), plain, plain, plain, plain)
    assert confidence(regression, None, 0.8, ERROR) is None
