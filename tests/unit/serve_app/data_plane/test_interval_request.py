"""Intervals in the data plane: an answer has one where it was asked for, and a level that is none is refused."""

import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optagent.domain.model import Task
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.training.encoding import Schema
from tests.fakes.data_plane import ARROW, stream
from tests.unit.serve_app.data_plane.test_gateway import PREDICT, ROW, SCHEMA, Acts, Gateway, Versions, constant_scores

KEPT = IntervalThresholds((0.5, 0.6, 0.7, 0.8, 1.0))
CITIES = Schema(SCHEMA.columns, "label", Task.MULTICLASS, ("a", "b", "c"))
PRICE = Schema(SCHEMA.columns, "price", Task.REGRESSION)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """Version 1 is unsure between two classes, 2 answers three, and 3 is a regression."""
    versions = Versions()
    versions.engines = {
        "1": Acts(constant_scores(0.35)),
        "2": Acts(lambda x: np.tile([0.2, 0.35, 0.45], (len(x), 1))),
        "3": Acts(constant_scores(12.5)),
    }
    versions.schemas = {"2": CITIES, "3": PRICE}
    gateway = Gateway(versions)
    await gateway.plane.start()
    yield gateway
    await gateway.plane.close()
    await gateway.client.aclose()


async def ask(gateway: Gateway, level: Any) -> dict[str, Any]:
    """The first answer to a request of that level."""
    response = await gateway.predict({"rows": [ROW, ROW], "interval": level})
    assert response.status_code == 200, response.text
    first: dict[str, Any] = response.json()["predictions"][0]
    return first


@pytest.mark.parametrize(("asked", "answered", "width"), [(0.9, 0.9, 0.7), (0.85, 0.9, 0.7), (0.5, 0.5, 0.5)])
async def test_a_value_gets_its_range_at_the_next_higher_level(
    gateway: Gateway, asked: float, answered: float, width: float
) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    answer = await ask(gateway, asked)
    assert answer["interval"] == {"level": answered, "low": 12.5 - width, "high": 12.5 + width}
    assert (answer["prediction"], "set" in answer) == (12.5, False)


@pytest.mark.parametrize(
    ("version", "level", "labels"),
    [
        ("1", 0.5, ["no"]),
        ("1", 0.9, ["no", "yes"]),
        ("2", 0.5, ["c"]),
        ("2", 0.9, ["c", "b"]),
        ("2", 0.99, ["c", "b", "a"]),
    ],
)
async def test_classes_get_a_set_with_the_most_probable_label_first(
    gateway: Gateway, version: str, level: float, labels: list[str]
) -> None:
    await gateway.answer_by(champion=version, intervals=KEPT)
    answer = await ask(gateway, level)
    assert (answer["set"], answer["level"]) == (labels, level)
    assert "interval" not in answer


@pytest.mark.parametrize("body", [{"rows": [ROW]}, {"rows": [ROW], "interval": None}])
async def test_a_request_that_asks_for_none_is_answered_as_before(gateway: Gateway, body: Any) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    [answer] = (await gateway.predict(body)).json()["predictions"]
    assert set(answer) == {"id", "prediction", "version"}


@pytest.mark.parametrize("level", [0, 1, 0.49, 0.995, 90, -0.9, True, "0.9", [0.9], {"level": 0.9}])
async def test_what_is_no_level_is_refused_with_its_value_and_the_rule(gateway: Gateway, level: Any) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    response = await gateway.predict({"rows": [ROW], "interval": level})
    assert response.status_code == 422, response.text
    assert "0.5 to 0.99" in response.json()["detail"]
    assert json.dumps(level) in response.json()["detail"]
    assert (await gateway.read_records())["predictions"] == []


@pytest.mark.parametrize("text", ["NaN", "1e400", "Infinity"])
async def test_what_is_no_number_of_json_is_refused(gateway: Gateway, text: str) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    body = json.dumps({"rows": [ROW], "interval": 0}).replace("0}", text + "}")
    response = await gateway.client.post(PREDICT, content=body)
    assert response.status_code in (400, 422), response.text


async def test_a_large_body_asks_for_intervals_too(gateway: Gateway) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    response = await gateway.predict({"rows": [{**ROW, "city": "Oslo" * 10}] * 900, "interval": 0.9})
    answers = response.json()["predictions"]
    assert len(answers) == 900
    assert all(answer["interval"]["level"] == 0.9 for answer in answers)


async def test_a_model_that_has_no_intervals_says_what_to_do(gateway: Gateway) -> None:
    await gateway.answer_by(champion="3")
    response = await gateway.predict({"rows": [ROW], "interval": 0.9})
    assert response.status_code == 409
    assert "churn has no intervals yet: set intervals: true in its model.yaml" in response.json()["detail"]
    assert (await gateway.predict()).status_code == 200


async def test_new_thresholds_load_no_version_again(gateway: Gateway) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    await ask(gateway, 0.9)
    await gateway.answer_by(champion="3", intervals=IntervalThresholds((1.0, 2.0, 3.0, 4.0, 5.0)))
    assert (await ask(gateway, 0.9))["interval"]["high"] == 15.5


async def ask_in_arrow(gateway: Gateway, level: str) -> Any:
    """The answer to a stream of two rows with the header."""
    headers = {"Content-Type": ARROW, "X-Optagent-Interval": level}
    return await gateway.client.post(PREDICT, content=stream(pa.Table.from_pylist([ROW, ROW])), headers=headers)


@pytest.mark.parametrize(
    ("version", "columns"), [("1", {"set": [["no", "yes"]] * 2}), ("2", {"set": [["c", "b"]] * 2}),
                             ("3", {"low": [11.8] * 2, "high": [13.2] * 2})]
)  # fmt: skip
async def test_a_stream_of_arrow_asks_by_a_header_and_gets_columns(
    gateway: Gateway, version: str, columns: dict[str, Any]
) -> None:
    await gateway.answer_by(champion=version, intervals=KEPT)
    response = await ask_in_arrow(gateway, "0.85")
    assert response.status_code == 200, response.text
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.schema.names[-1 - len(columns) :] == [*columns, "level"]
    assert table["level"].to_pylist() == [0.9, 0.9]
    for name, values in columns.items():
        assert table[name].to_pylist() == values, name


async def test_the_body_of_a_request_decides_before_its_header(gateway: Gateway) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    headers = {"X-Optagent-Interval": "0.5"}
    for body, level in (({"row": ROW}, 0.5), ({"row": ROW, "interval": 0.99}, 0.99)):
        answer = (await gateway.predict(body, headers=headers)).json()["predictions"][0]
        assert answer["interval"]["level"] == level


@pytest.mark.parametrize("level", ["", "1", "90", "nan", "inf", "a lot"])
async def test_a_header_that_is_no_level_is_refused(gateway: Gateway, level: str) -> None:
    await gateway.answer_by(champion="3", intervals=KEPT)
    response = await ask_in_arrow(gateway, level)
    assert response.status_code == 422, response.text
    assert "0.5 to 0.99" in response.json()["detail"]


async def test_a_stream_that_asks_a_model_without_intervals_is_refused(gateway: Gateway) -> None:
    await gateway.answer_by(champion="3")
    assert (await ask_in_arrow(gateway, "0.9")).status_code == 409
