"""Demo calendars: LightGBM retrained by the clock, several ways, of which the best one in hindsight is shown.

Nobody can know which calendar will have been the best. It is what an agent that follows the evidence has to reach.
"""

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
import pandas as pd

from optagent.demo.live import log_loss

EVERY_DAYS = (30, 90, 365)
NEWEST_DAYS = (None, 730, 365)
LABELS_AFTER_DAYS = 4


@dataclass(frozen=True)
class CalendarAnswers:
    """A calendar's answers to the asked rows in order; `newest` are the days that it learns from, None for all."""

    every: int
    newest: int | None
    probability: list[float]
    trainings: int

    @property
    def name(self) -> str:
        rows = "all rows" if self.newest is None else f"the newest {self.newest} days"
        return f"LightGBM each {self.every} days on {rows}"


def best_calendar(rows: pd.DataFrame, asked: list[int]) -> CalendarAnswers:
    """The calendar of least log-loss on the rows that were asked, which are indexes of `rows`."""
    truth = rows.loc[asked, "turbulent"].to_numpy()
    calendars = [_run(rows, asked, every, newest) for every in EVERY_DAYS for newest in NEWEST_DAYS]
    return min(calendars, key=lambda calendar: log_loss(truth, calendar.probability))


def _run(rows: pd.DataFrame, asked: list[int], every: int, newest: int | None) -> CalendarAnswers:
    features = rows.drop(columns=["date", "at", "turbulent"]).assign(ticker=rows["ticker"].astype("category"))
    days, asked_rows = rows["date"], rows.loc[asked]
    answers, trainings, model, trained_on = np.empty(len(asked)), 0, None, None
    for day, part in asked_rows.groupby("date", sort=True):
        if model is None or (day - trained_on).days >= every:
            known = days <= day - pd.Timedelta(days=LABELS_AFTER_DAYS)
            if newest is not None:
                known &= days > day - pd.Timedelta(days=newest)
            model = lgb.LGBMClassifier(n_estimators=100, learning_rate=0.05, verbose=-1, n_jobs=1, random_state=0)
            model.fit(features[known], rows.loc[known, "turbulent"])
            trained_on, trainings = day, trainings + 1
        probabilities = np.asarray(model.predict_proba(features.loc[part.index]))
        answers[asked_rows.index.get_indexer(part.index)] = probabilities[:, 1]
    return CalendarAnswers(every, newest, answers.tolist(), trainings)
