"""Demo market: a client of the prediction endpoint that asks day by day and sends labels once they are known."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import requests

_LABELS_AFTER_DAYS = 4
_TIMEOUT_S = 10


@dataclass
class Answered:
    """The questions and answers so far; `failed` counts requests without an answer."""

    day: list[Any] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    version: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    failed: int = 0


class Market(threading.Thread):
    """Asks for all shares of a day at once, `day_s` seconds after the day before; stops after the last one."""

    def __init__(self, rows: pd.DataFrame, url: str, token: str, day_s: float) -> None:
        super().__init__(name="market", daemon=True)
        self.answered = Answered()
        self.today: Any = None
        self.ended = threading.Event()
        self._days = [(day, part) for day, part in rows.groupby("date", sort=True)]
        self._features = [name for name in rows.columns if name not in ("date", "at", "turbulent")]
        self._url, self._day_s = url, day_s
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def run(self) -> None:
        first = self._days[0][0]
        began_at = time.time()
        waiting: deque[tuple[Any, list[dict[str, Any]]]] = deque()
        for day, part in self._days:
            time.sleep(max(0.0, began_at + (day - first).days * self._day_s - time.time()))
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
        self.ended.set()

    def _ask(self, day: Any, part: pd.DataFrame, ids: list[str]) -> None:
        rows = part[self._features].astype(object).where(part[self._features].notna(), None).to_dict("records")
        answer = self._post("predict", {"rows": rows, "ids": ids})
        answered = self.answered
        if answer is None:
            answered.failed += 1
            return
        for index, (truth, prediction) in enumerate(zip(part["turbulent"], answer["predictions"], strict=True)):
            answered.day.append(day)
            answered.truth.append(int(truth))
            answered.live.append(float(prediction["probabilities"]["1"]))
            answered.version.append(str(prediction["version"]))
            answered.row.append(int(part.index[index]))

    def _post(self, what: str, body: dict[str, Any]) -> Any:
        try:
            answer = self._session.post(f"{self._url}/{what}", json=body, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            return answer.json() if answer.content else {}
        except requests.RequestException:
            return None


def log_loss(truth: Any, probability: Any) -> float:
    """The mean log-loss; NaN without rows."""
    y, p = np.asarray(truth, dtype=float), np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))) if len(y) else float("nan")
