"""Daily prices of five shares, 2000 to 2003: is tomorrow turbulent, and does the price rise? Writes two files."""

from importlib.resources import files

import numpy as np
import pandas as pd

with (files("bokeh_sampledata") / "_data" / "stocks.csv.gz").open("rb") as file:
    prices = pd.read_csv(file, compression="gzip", parse_dates=["Date"])

shares = []
for ticker, share in prices.groupby("Ticker"):
    day = share.sort_values("Date")
    returns, spread = np.log(day["Adj Close"]).diff(), np.log(day["High"] / day["Low"])
    rows = pd.DataFrame({"date": day["Date"], "ticker": ticker, "range": spread, "return_0": returns})
    for window in (5, 21, 63):
        rows[f"volatility_{window}"] = returns.rolling(window).std()
        rows[f"momentum_{window}"] = returns.rolling(window).sum()
    rows["turbulent"] = (spread.shift(-1) > 0.025).astype(int)
    rows["up"] = (returns.shift(-1) > 0).astype(int)
    shares.append(rows.iloc[63:-1])
rows = pd.concat(shares).sort_values(["date", "ticker"])
rows = rows[rows["date"] < "2004-01-01"]
rows.drop(columns="up").to_parquet("turbulence.parquet", index=False)
rows.drop(columns="turbulent").to_parquet("direction.parquet", index=False)
print(f"{len(rows):,} rows, {rows['turbulent'].mean():.1%} turbulent, {rows['up'].mean():.1%} up")
