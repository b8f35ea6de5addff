"""Reasons over HTTP: asked for by `explain`, made when they are first asked for, and refused at the door."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.errors import Conflict, EngineFailed
from optagent.serving.engine import ServedModel
from optagent.serving.reasons import RowExplainer
from optagent.training.columns import Kind
from optagent.training.encoding import FeatureColumn, Schema
from serve_app.data_plane import explaining
from tests.unit.serve_app.data_plane.test_gateway import (
    ARROW,
    PREDICT,
    ROW,
    SCHEMA,
    Acts,
    Gateway,
    Versions,
    constant_scores,
    raise_error,
    stream,
)
from tests.unit.serve_app.data_plane.test_mixture import WEIGHTS

MANY = Schema(
    (FeatureColumn("a", Kind.NUMERIC), FeatureColumn("city", Kind.NUMERIC)), "label", Task.MULTICLASS, (7, 8, 9)
)


def linear_explainer(
    schema: Schema = SCHEMA, outputs: int = 1, slope: float = 2.0, unit: str = "log-odds"
) -> RowExplainer:
    """Contributions are 2 · a, or -2 · a to the second output, and 1 for Oslo."""
    weights = np.array([[slope, -slope, 0.0][:outputs]])
    arrays = {
        "kind": np.array("linear"),
        "unit": np.array(unit),
        "columns": np.array(2),
        "base": np.full(outputs, 0.5),
        "numbers": np.array([0]),
        "fill": np.zeros(1, np.float32),
        "centre": np.zeros(1, np.float32),
        "scale": np.ones(1, np.float32),
        "weights": weights,
        "means": np.zeros(1),
        "missing_weights": np.zeros_like(weights),
        "missing_means": np.zeros(1),
        "categories": np.array([1]),
        "ends": np.array([3]),
        "codes": np.repeat([[0.0], [1.0], [-0.25]], outputs, axis=1),
    }
    return RowExplainer(schema, arrays)


class Explained(Versions):
    """Versions with explainers; an error among them is raised. `loads` has the versions that were asked for one."""

    def __init__(self) -> None:
        super().__init__()
        self.engines = {"1": Acts(constant_scores(0.25)), "2": Acts(constant_scores(0.75))}
        self.explainers: dict[str, RowExplainer | Exception | None] = {"1": linear_explainer(), "2": None}
        self.loads: list[str] = []

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        model = super().load(model_id, version, digest)

        def load_explainer() -> RowExplainer:
            assert threading.current_thread().name.startswith("optagent-load-reasons")
            self.loads.append(version)
            explainer = self.explainers[version]
            if isinstance(explainer, RowExplainer):
                return explainer
            raise explainer or Conflict(f"version {version} gives no reasons: lightgbm, linear do")

        model.load_explainer = load_explainer
        return model


@pytest.fixture
def versions() -> Explained:
    return Explained()


@pytest.fixture
async def gateway(versions: Explained) -> AsyncIterator[Gateway]:
    gateway = Gateway(versions)
    await gateway.plane.start()
    yield gateway
    await gateway.plane.close()
    await gateway.client.aclose()


async def test_the_features_that_moved_an_answer_most_come_first_with_what_they_added(
    gateway: Gateway, versions: Explained
) -> None:
    await gateway.answer_by(champion="1")
    rows = [ROW, {"a": 0.25, "city": "Oslo"}, {"a": None, "city": None}]
    plain = (await gateway.predict({"rows": rows, "ids": ["x", "y", "z"]})).json()["predictions"]
    assert "reasons" not in plain[0]
    assert versions.loads == []
    answers = (await gateway.predict({"rows": rows, "ids": ["x", "y", "z"], "explain": 1})).json()["predictions"]
    reasons = [answer.pop("reasons") for answer in answers]
    assert answers == plain
    unit = {"of": "yes", "unit": "log-odds", "base": 0.5}
    assert reasons == [
        {**unit, "features": [{"feature": "a", "contribution": 3.0}], "others": 1.0, "sum": 4.5},
        {**unit, "features": [{"feature": "city", "contribution": 1.0}], "others": 0.5, "sum": 2.0},
        {**unit, "features": [{"feature": "city", "contribution": -0.25}], "others": 0.0, "sum": 0.25},
    ]
    await gateway.predict({"row": ROW, "explain": 2})
    assert versions.loads == ["1"]


async def test_of_several_classes_the_reasons_are_those_of_the_predicted_one(
    gateway: Gateway, versions: Explained
) -> None:
    versions.schemas["1"] = MANY
    versions.explainers["1"] = linear_explainer(MANY, 3)
    versions.engines["1"] = Acts(lambda x: np.where(x[:, :1] > 0, [[0.2, 0.7, 0.1]], [[0.1, 0.2, 0.7]]))
    await gateway.answer_by(champion="1")
    rows = [{"a": 1.0, "city": 0.0}, {"a": -1.0, "city": 0.0}]
    first, second = (await gateway.predict({"rows": rows, "explain": 1})).json()["predictions"]
    assert (first["reasons"]["of"], first["reasons"]["features"][0]["contribution"]) == (8, -2.0)
    assert (second["reasons"]["of"], second["reasons"]["features"][0]["contribution"]) == (9, 0.0)


async def test_a_table_is_asked_by_a_header_and_answered_with_a_column(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    headers = {"Content-Type": ARROW, "X-Optagent-Explain": "2"}
    body = stream(pa.table({"a": [1.5], "city": ["Oslo"]}))
    answer = await gateway.client.post(PREDICT, content=body, headers=headers)
    [reasons] = pa.ipc.open_stream(answer.content).read_all()["reasons"].to_pylist()
    features = [{"feature": "a", "contribution": 3.0}, {"feature": "city", "contribution": 1.0}]
    assert reasons == {"of": "yes", "unit": "log-odds", "base": 0.5, "features": features, "others": 0.0, "sum": 4.5}
    answer = await gateway.predict({"row": ROW}, headers={"X-Optagent-Explain": "1"})
    assert len(answer.json()["predictions"][0]["reasons"]["features"]) == 1


@pytest.mark.parametrize("explain", [0, -1, 3, 2.0, True, "3", [1], {"a": 1}, 10**40])
async def test_what_is_no_number_of_features_is_refused_with_the_value_and_the_rule(
    explain: Any, gateway: Gateway, versions: Explained
) -> None:
    await gateway.answer_by(champion="1")
    answer = await gateway.predict({"row": ROW, "explain": explain})
    assert answer.status_code == 422
    assert "explain: a whole number from 1 to " in answer.json()["detail"]
    assert f"got {explain!r}"[:40] in answer.json()["detail"]
    assert versions.loads == []
    assert not (await gateway.read_records())["predictions"]


@pytest.mark.parametrize("header", ["0", "three", "1.0", "9" * 5000])
async def test_a_header_that_is_no_number_of_features_is_refused(header: str, gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    answer = await gateway.predict(headers={"X-Optagent-Explain": header})
    assert (answer.status_code, answer.json()["detail"][:20]) == (422, "explain: a whole num")


async def test_too_many_rows_to_explain_are_refused_also_in_a_large_body(gateway: Gateway) -> None:
    await gateway.answer_by(champion="1")
    for columns in ({"a": [1.0] * 201, "city": ["Oslo"] * 201}, {"a": [1.0] * 900, "city": ["Oslo" * 30] * 900}):
        answer = await gateway.predict({"rows": columns, "explain": 1})
        assert answer.status_code == 413
        assert "to explain in one call, the limit is 200" in answer.json()["detail"]


async def test_a_version_without_reasons_says_which_have_and_answers_plain_requests(
    gateway: Gateway, versions: Explained
) -> None:
    await gateway.answer_by(champion="2")
    for _ in range(2):
        answer = await gateway.predict({"row": ROW, "explain": 1})
        assert (answer.status_code, answer.json()["detail"]) == (
            409,
            "version 2 gives no reasons: lightgbm, linear do",
        )
    assert versions.loads == ["2"]
    assert (await gateway.predict()).status_code == 200


async def test_a_load_that_failed_is_tried_again_after_a_while(
    gateway: Gateway, versions: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gateway.answer_by(champion="1")
    versions.explainers["1"] = EngineFailed("its process ended")
    for _ in range(2):
        assert (await gateway.predict({"row": ROW, "explain": 1})).status_code == 503
    assert versions.loads == ["1"]
    versions.explainers["1"] = linear_explainer()
    monkeypatch.setattr(explaining, "_RETRY_S", 0.0)
    assert (await gateway.predict({"row": ROW, "explain": 1})).status_code == 200


async def test_where_the_backup_answers_the_reasons_are_its_own(gateway: Gateway, versions: Explained) -> None:
    versions.explainers["2"] = linear_explainer()
    versions.engines["2"] = Acts(raise_error)
    roles = {"warm": ("1", "2"), "rollout_id": "r1", "state": "ramp"}
    await gateway.answer_by(champion="1", candidate="2", share=0.999, **roles)
    [answer] = (await gateway.predict({"row": ROW, "explain": 1})).json()["predictions"]
    assert (answer["version"], answer["reasons"]["sum"]) == ("1", 4.5)
    assert versions.loads == ["2", "1"]


def explain_slots(versions: Explained, *slopes: float) -> None:
    """Versions 1, 2 ... that answer what their explainers say."""
    for number, slope in enumerate(slopes, 1):
        explainer = linear_explainer(slope=slope)

        def answer(x: Any, explainer: RowExplainer = explainer) -> Any:
            base, contributions = explainer.read_margins(x)
            return 1 / (1 + np.exp(-base - contributions.sum(axis=1)))

        versions.engines[str(number)], versions.explainers[str(number)] = Acts(answer), explainer


async def test_the_reasons_of_a_mixture_sum_to_the_log_odds_of_its_answer(
    gateway: Gateway, versions: Explained
) -> None:
    explain_slots(versions, 2.0, -1.0, 0.5)
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    rows = [ROW, {"a": -0.5, "city": "Oslo"}, {"a": 9.0, "city": None}]
    for answer in (await gateway.predict({"rows": rows, "explain": 2})).json()["predictions"]:
        reasons, positive = answer["reasons"], answer["probabilities"]["yes"]
        assert answer["version"] == "mixture"
        assert reasons["sum"] == pytest.approx(np.log(positive / (1 - positive)), abs=1e-9)
        assert {each["feature"] for each in reasons["features"]} == {"a", "city"}
        assert reasons["others"] == pytest.approx(0, abs=1e-12)
    assert sorted(versions.loads) == ["1", "2", "3"]


async def test_a_mixture_of_a_version_without_reasons_has_none(gateway: Gateway, versions: Explained) -> None:
    versions.engines["3"] = Acts(constant_scores(0.5))
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    answer = await gateway.predict({"row": ROW, "explain": 1})
    assert answer.status_code == 409
    assert "version 2 gives no reasons" in answer.json()["detail"]
    assert "optagent mixture churn --champion-only" in answer.json()["detail"]


async def test_a_mixture_of_a_version_that_explains_probabilities_has_none(
    gateway: Gateway, versions: Explained
) -> None:
    explain_slots(versions, 2.0, 1.0, 0.5)
    versions.explainers["3"] = linear_explainer(unit="probability")
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    answer = await gateway.predict({"row": ROW, "explain": 1})
    assert answer.status_code == 409
    assert "version 3 gives reasons as probability, log-odds is needed" in answer.json()["detail"]


async def test_the_part_of_a_slot_that_does_not_answer_has_no_reasons(gateway: Gateway, versions: Explained) -> None:
    explain_slots(versions, 2.0, 1.0, 0.5)
    versions.engines["2"] = Acts(raise_error)
    await gateway.answer_by(champion="1", mixture=WEIGHTS)
    answer = await gateway.predict({"row": ROW, "explain": 1})
    assert answer.status_code == 409
    assert "a slot of the mixture did not answer" in answer.json()["detail"]
    assert (await gateway.predict({"row": ROW})).status_code == 200
