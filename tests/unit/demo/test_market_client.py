"""The demo's market: labels come days later, failures are counted, and days go on until new models have answered."""

import sys
from typing import Any

import pandas as pd
import pytest
import requests

from optagent.demo import market
from optagent.demo.live import Market
from optagent.errors import MissingExtra


class Reply:
    content = b"{}"

    def __init__(self, rows: int, fails: bool) -> None:
        self._rows, self._fails = rows, fails

    def raise_for_status(self) -> None:
        if self._fails:
            raise requests.HTTPError("503")

    def json(self) -> dict[str, Any]:
        return {"predictions": [{"probabilities": {"1": 0.25}, "version": "1"} for _ in range(self._rows)]}


class Endpoint:
    """A session that keeps what it is sent, and fails the requests of some days."""

    def __init__(self, fails: str = "never") -> None:
        self.headers: dict[str, str] = {}
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._fails = fails

    def post(self, url: str, json: dict[str, Any], timeout: float) -> Reply:
        verb = url.rpartition("/")[2]
        self.sent.append((verb, json))
        return Reply(len(json.get("rows", ())), any(self._fails in row_id for row_id in json.get("ids", ())))


def days(count: int) -> pd.DataFrame:
    date = pd.date_range("2004-01-01", periods=count, freq="D").repeat(2)
    columns = {"date": date, "at": date, "ticker": ["A", "B"] * count, "range": 0.1, "turbulent": [0, 1] * count}
    return pd.DataFrame(columns)


def asked_by(endpoint: Endpoint, rows: pd.DataFrame, last_day: str, enough: bool = True) -> Market:
    client = Market(rows, "http://x", "token", 0.0, last_day)
    client._session = endpoint  # type: ignore[assignment]
    if enough:
        client.enough.set()
    client.run()
    return client


def test_a_label_is_sent_four_days_after_its_row() -> None:
    endpoint = Endpoint()
    asked_by(endpoint, days(6), "2004-01-06")
    verbs = [verb for verb, _ in endpoint.sent]
    assert verbs == ["predict"] * 5 + ["labels", "predict", "labels"]
    assert endpoint.sent[5][1]["labels"] == [{"id": "2004-01-01 A", "label": 0}, {"id": "2004-01-01 B", "label": 1}]


def test_a_row_is_asked_without_its_label_and_its_time() -> None:
    endpoint = Endpoint()
    asked_by(endpoint, days(1), "2004-01-01")
    assert endpoint.sent[0][1]["rows"] == [{"ticker": "A", "range": 0.1}, {"ticker": "B", "range": 0.1}]


def test_a_failed_request_is_counted_and_the_days_go_on() -> None:
    client = asked_by(Endpoint(fails="2004-01-02"), days(3), "2004-01-03")
    assert client.answered.failed == 1
    assert client.answered.row == [0, 1, 4, 5]
    assert client.ended.is_set()


def test_days_end_at_the_last_one_where_new_models_have_answered_for_long_enough() -> None:
    assert len(asked_by(Endpoint(), days(8), "2004-01-03").answered.row) == 6


def test_days_go_on_after_the_last_one_where_they_have_not() -> None:
    assert len(asked_by(Endpoint(), days(8), "2004-01-03", enough=False).answered.row) == 16


def test_a_market_that_is_stopped_asks_no_more() -> None:
    client = Market(days(8), "http://x", "token", 3600.0, "2004-01-08")
    client._session = endpoint = Endpoint()  # type: ignore[assignment]
    client.start()
    client.stop()  # while it waits an hour for the second day
    assert client.ended.is_set()
    assert len(endpoint.sent) <= 1


def test_a_market_that_breaks_has_ended() -> None:
    client = Market(days(1).drop(columns="turbulent"), "http://x", "token", 0.0, "2004-01-01")
    with pytest.raises(KeyError):
        client.run()
    assert client.ended.is_set()


def test_prices_that_are_not_installed_are_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bokeh_sampledata", None)
    with pytest.raises(MissingExtra, match=r'pip install "optagent\[demo\]"'):
        market.prices()
