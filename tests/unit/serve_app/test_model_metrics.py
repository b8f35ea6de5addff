"""Model metrics: each gauge is described, each sample belongs to one, and figures that are unknown have none."""

from dataclasses import replace

from optagent.domain.fleet import Answerer, LatestProcess, ModelHealth, ModelStanding
from optagent.domain.mixture_status import MixtureCertificate, MixtureStatus, SlotStanding
from optagent.domain.model import Task
from optagent.domain.monitoring import Window
from optagent.domain.quality_point import QualityPoint
from optagent.domain.study import Interval
from optagent.domain.vital_signs import StoreMemory, VitalSigns
from serve_app.data_plane.metrics import METRICS, ROLLOUT_STATE
from serve_app.model_metrics import MODEL_METRICS, samples_of

POINT = QualityPoint(
    Window(0.0, 86_400.0),
    90_000.0,
    "3",
    20,
    10,
    "auc",
    realised=Interval(0.8, 0.7, 0.9, 0.05),
    estimated=Interval(0.75, 0.6, 0.9, 0.05),
    calibration_error=0.02,
    drift=0.1,
)
PROCESS = LatestProcess("p", "optimize", "running", "search", "", 1.0, 2.0, {"pass": 3, "fail": 1})
STANDING = ModelStanding(
    "churn",
    Task.BINARY,
    "auc",
    ModelHealth.WARNING,
    "",
    Answerer.MIXTURE,
    alerts={"latency": "warning", "labels": "warning"},
    process=PROCESS,
    latest=POINT,
)
MIXTURE = MixtureStatus(
    "churn", "learning", "", 0.0, 10, 0.3, (SlotStanding("all", "4", 0.75, 10, 0.3, 2.5),),
    MixtureCertificate(1.0, 2, 3.0, -2.5, -2.5, True, ""), 1, 5.0, "d", 0.0,
)  # fmt: skip
SIGNS = VitalSigns(100.0, (STANDING,), {"churn": MIXTURE}, (PROCESS,), 2, 17, StoreMemory(5, 9))


def values(signs: VitalSigns = SIGNS) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.tags): float(sample.value) for sample in samples_of(signs, {"redis": "ok", "x": "off"})
    }


def test_all_gauges_are_told_and_no_other() -> None:
    assert {key[0] for key in values()} == {definition.name for definition in MODEL_METRICS}


def test_each_sample_has_a_value_for_each_tag_of_its_gauge() -> None:
    tags = {definition.name: definition.tags for definition in MODEL_METRICS}
    assert all(len(key) == 1 + len(tags[key[0]]) for key in values())


def test_names_are_given_once() -> None:
    names = [definition.name for definition in (*METRICS, *MODEL_METRICS, ROLLOUT_STATE)]
    assert len(set(names)) == len(names)


def test_figures_are_those_of_the_model() -> None:
    told = values()
    assert told["optagent_model_health", "churn", "warning"] == 1
    assert told["optagent_model_health", "churn", "good"] == 0
    assert told["optagent_model_open_alerts", "churn", "warning"] == 2
    assert told["optagent_model_open_alerts", "churn", "critical"] == 0
    assert told["optagent_model_metric_low", "churn", "auc"] == 0.7
    assert told["optagent_model_gates", "churn", "fail"] == 1
    assert told["optagent_model_gates", "churn", "error"] == 0
    assert told["optagent_mixture_weight", "churn", "all"] == 0.75
    assert told["optagent_mixture_bound_nats", "churn"] == 3.0
    assert told["optagent_running_processes", "optimize", "search"] == 1
    assert (told["optagent_part_up", "redis"], told["optagent_part_up", "x"]) == (1, 0)


def test_what_is_not_known_has_no_value() -> None:
    unlabelled = replace(STANDING, process=None, latest=replace(POINT, realised=None, calibration_error=None))
    told = {key[0] for key in values(VitalSigns(100.0, (unlabelled,)))}
    assert not told & {"optagent_model_metric", "optagent_model_calibration_error", "optagent_model_gates"}
    assert "optagent_model_metric_estimate" in told
    assert not any(name.startswith("optagent_mixture") for name in told)
