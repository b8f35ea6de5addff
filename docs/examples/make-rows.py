"""Customers of a telephone company: who leaves within a week. Writes rows.parquet."""

import numpy as np
import pandas as pd

random = np.random.default_rng(7)
count = 6_000
days = pd.to_timedelta(np.sort(random.integers(0, 240, count)), unit="D")
rows = pd.DataFrame(
    {
        "day": pd.Timestamp("2026-01-01", tz="UTC") + days,
        "tenure": random.integers(0, 72, count),
        "plan": random.choice(["basic", "family", "business"], count, p=[0.5, 0.3, 0.2]),
        "region": random.choice(["north", "south"], count),
        "sex": random.choice(["f", "m"], count),
        "spend": random.gamma(4.0, 12.0, count).round(2),
        "calls": random.poisson(2.0, count),
    }
)
new, annoyed = rows["tenure"] < 9, rows["calls"] >= 4
misfit = (rows["plan"] == "family") == (rows["region"] == "north")
pull = -3.0 + 1.6 * new + 1.8 * annoyed + 2.0 * misfit + 0.03 * (rows["spend"] - 48) * (rows["plan"] == "basic")
rows["churned"] = (random.random(count) < 1 / (1 + np.exp(-pull))).astype(int)
rows.to_parquet("rows.parquet", index=False)
print(f"{len(rows):,} rows, {rows['churned'].mean():.1%} churned")
