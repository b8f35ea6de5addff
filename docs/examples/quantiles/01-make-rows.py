"""Deliveries of a courier: the minutes that each took. Writes rows.parquet and tomorrow.parquet."""

import numpy as np
import pandas as pd

random = np.random.default_rng(3)
count = 6_000
rows = pd.DataFrame(
    {
        "day": pd.Timestamp("2026-01-01", tz="UTC")
        + pd.to_timedelta(np.sort(random.integers(0, 240, count)), unit="D"),
        "km": random.gamma(3.0, 2.0, count).round(1),
        "stops": random.integers(1, 12, count),
        "rain": random.random(count) < 0.3,
    }
)
usual = 6 + 2.5 * rows["km"] + 3 * rows["stops"] + 5 * rows["rain"]
rows["minutes"] = (usual * random.gamma(20, 1 / 20, count)).round(1)
rows[:-500].to_parquet("rows.parquet", index=False)
rows[-500:].to_parquet("tomorrow.parquet", index=False)
print(f"{len(rows) - 500:,} deliveries of {rows['minutes'].mean():.0f} minutes in the mean")
