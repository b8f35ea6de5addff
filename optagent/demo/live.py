"""Demo market: a client of the prediction endpoint that asks day by day and sends labels once they are known."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import requests

from optagent.errors import Unavailable

_LABELS_AFTER_DAYS = 4
_TIMEOUT_S = 10
_SERVED_S = 120.0
_POLL_S = 0.2


@dataclass
class Answered:
    """The questions and answers so far; `failed` counts requests without an answer, of predictions and of labels.

    `row` grows last: each other list has as many entries or one more.
    """

    day: list[Any] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    version: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    failed: int = 0


class Market(threading.Thread):
    """Asks for all shares of a day at once, `day_s` seconds after the day before.

    It stops at the first day after `last_day` at which `enough` is set, and after the last of the rows.
    """

    def __init__(self, rows: pd.DataFrame, url: str, token: str, day_s: float, last_day: str) -> None:
        super().__init__(name="market", daemon=True)
        self.answered = Answered()
        self.today: Any = None
        self.enough = threading.Event()
        self.ended = threading.Event()
        self._stopped = threading.Event()
        self._last_day = pd.Timestamp(last_day)
        self._days = [(day, part) for day, part in rows.groupby("date", sort=True)]
        self._features = [name for name in rows.columns if name not in ("date", "at", "turbulent")]
        self._url, self._day_s = url, day_s
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def stop(self) -> None:
        """Ends the days; blocks until the last request has been answered."""
        self._stopped.set()
        self.join(_TIMEOUT_S)

    def run(self) -> None:
        try:
            self._live_days()
        finally:
            self.ended.set()

    def _live_days(self) -> None:
        first = self._days[0][0]
        began_at = time.time()
        waiting: deque[tuple[Any, list[dict[str, Any]]]] = deque()
        for day, part in self._days:
            if self._stopped.wait(max(0.0, began_at + (day - first).days * self._day_s - time.time())):
                return
            if day > self._last_day and self.enough.is_set():
                return
            self.today = day
            ids = [f"{day:%Y-%m-%d} {ticker}" for ticker in part["ticker"]]
            self._ask(day, part, ids)
            labels = [{"id": row_id, "label": int(truth)} for row_id, truth in zip(ids, part["turbulent"], strict=True)]
            waiting.append((day, labels))
            known_labels: list[dict[str, Any]] = []
            while waiting and (day - waiting[0][0]).days >= _LABELS_AFTER_DAYS:
                known_labels += waiting.popleft()[1]
            if known_labels:
                self._post("labels", {"labels": known_labels})

    def _ask(self, day: Any, part: pd.DataFrame, ids: list[str]) -> None:
        rows = part[self._features].astype(object).where(part[self._features].notna(), None).to_dict("records")
        answer = self._post("predict", {"rows": rows, "ids": ids})
        if answer is None:
            return
        answered = self.answered
        for index, (truth, prediction) in enumerate(zip(part["turbulent"], answer["predictions"], strict=True)):
            answered.day.append(day)
            answered.truth.append(int(truth))
            answered.live.append(float(prediction["probabilities"]["1"]))
            answered.version.append(str(prediction["version"]))
            answered.row.append(int(part.index[index]))

    def _post(self, verb: str, body: dict[str, Any]) -> Any:
        try:
            answer = self._session.post(f"{self._url}/{verb}", json=body, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            return answer.json() if answer.content else {}
        except requests.RequestException:
            self.answered.failed += 1
            return None


def wait_until_served(url: str, token: str, rows: pd.DataFrame) -> None:
    """Returns once the endpoint of a model answers its first row; Unavailable after two minutes."""
    row = rows.iloc[0].drop(["date", "at", "turbulent"]).to_dict()
    give_up = time.monotonic() + _SERVED_S
    while True:
        try:
            headers = {"Authorization": f"Bearer {token}"}
            answer = requests.post(f"{url}/predict", json={"row": row}, headers=headers, timeout=_TIMEOUT_S)
            if answer.ok:
                return
            message = answer.text
        except requests.RequestException as error:
            message = str(error)
        if time.monotonic() > give_up:
            raise Unavailable(f"the model is not served within {_SERVED_S:g} s: {message}")
        time.sleep(_POLL_S)


def log_loss(truth: Any, probability: Any) -> float:
    """The mean log-loss; NaN without rows."""
    y, p = np.asarray(truth, dtype=float), np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))) if len(y) else float("nan")
