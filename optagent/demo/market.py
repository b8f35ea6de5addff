"""Demo data: daily prices of five shares, 2000-2013, as a table that a model can learn from.

The prices ship with the package bokeh-sampledata. The label of a day is whether the *next* trading day is turbulent:
log(High / Low) above 2.5 %. Every feature is known at the close of its day.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from optagent.extras import require_library

WINDOWS = (5, 10, 21, 63)
TURBULENT = 0.025


def prices() -> pd.DataFrame:
    """The prices, one row a share and day: Ticker, Date, Open, High, Low, Close, Volume; raises MissingExtra."""
    require_library("bokeh_sampledata", "the demo", "demo")
    with (files("bokeh_sampledata") / "_data" / "stocks.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip", parse_dates=["Date"])


def turbulence(rows: pd.DataFrame) -> pd.DataFrame:
    """Features and the label `turbulent`, in order of time; about 11,800 rows."""
    shares = [_share(share.sort_values("Date")) for _, share in rows.groupby("Ticker")]
    return pd.concat(shares).sort_values(["date", "ticker"], ignore_index=True)


def _share(day: pd.DataFrame) -> pd.DataFrame:
    # The sample's prices are not adjusted for splits; the adjusted close gives the true return.
    returns = np.log(day["Adj Close"]).diff()
    spread = np.log(day["High"] / day["Low"])
    columns = {
        "date": day["Date"],
        "ticker": day["Ticker"],
        "range": spread,
        "gap": np.log(day["Open"] / day["Close"].shift()).clip(-0.3, 0.3),
        "volume_to_month": np.log(day["Volume"] / day["Volume"].rolling(21).mean()),
    }
    for lag in (0, 1, 2):
        columns[f"return_{lag}"] = returns.shift(lag)
    for window in WINDOWS:
        columns[f"volatility_{window}"] = returns.rolling(window).std()
        columns[f"mean_range_{window}"] = spread.rolling(window).mean()
        columns[f"momentum_{window}"] = returns.rolling(window).sum()
    table = pd.DataFrame(columns)
    table["turbulent"] = (spread.shift(-1) > TURBULENT).astype("int8")
    return table.iloc[max(WINDOWS) : -1]


def direction(rows: pd.DataFrame) -> pd.DataFrame:
    """The same features with the label `up`, whether the next day's return is positive: as good as noise."""
    shares = []
    for _, share in rows.groupby("Ticker"):
        day = share.sort_values("Date")
        table = _share(day).drop(columns="turbulent")
        table["up"] = (np.log(day["Adj Close"]).diff().shift(-1) > 0).astype("int8").loc[table.index]
        shares.append(table)
    return pd.concat(shares).sort_values(["date", "ticker"], ignore_index=True)


def on_the_clock(rows: pd.DataFrame, first_live: str, now: float, day_s: float) -> pd.DataFrame:
    """The rows with the column `at`: the time of each day on a clock of `day_s` seconds a day, where `first_live` is
    `now`."""
    days = (rows["date"] - pd.Timestamp(first_live)).dt.days
    at = pd.to_datetime((now + days * day_s) * 1e6, unit="us", utc=True)
    return rows.assign(at=at.astype("datetime64[us, UTC]"))


def write(rows: pd.DataFrame, path: Path) -> Path:
    """Writes the rows as Parquet and returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(path, index=False)
    return path
