"""Electricity meters, a row each evening: what a house will use tomorrow. Writes rows.parquet and this-week.parquet."""

import numpy as np
import pandas as pd

random = np.random.default_rng(5)
days = pd.date_range("2026-01-01", periods=240, tz="UTC")
meters = [f"meter {number}" for number in range(30)]
week = random.gamma(6.0, 1.5, (len(meters), 7))  # each house has a week of its own
weather = np.cumsum(random.normal(size=len(days) + 1)) / 3
used = week[:, np.arange(len(days) + 1) % 7] + weather + random.normal(size=(len(meters), len(days) + 1))
rows = pd.DataFrame(
    {
        "day": np.repeat(days, len(meters)),
        "meter": np.tile(meters, len(days)),
        "used": used[:, :-1].T.ravel().round(2),
        "tomorrow": used[:, 1:].T.ravel().round(2),
    }
)
last_week = rows["day"] >= days[-7]
rows[~last_week].to_parquet("rows.parquet", index=False)
rows[last_week].to_parquet("this-week.parquet", index=False)
print(f"{(~last_week).sum():,} evenings, {rows['used'].mean():.1f} kWh a day in the mean")
