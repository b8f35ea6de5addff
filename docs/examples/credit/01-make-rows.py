"""Credits that were paid back or not; one column stands for the sex of the applicant. Writes rows.parquet."""

import numpy as np
import pandas as pd

random = np.random.default_rng(11)
count = 6_000
sex = random.choice(["f", "m"], count)
rows = pd.DataFrame(
    {
        "sex": sex,
        "part_time": (random.random(count) < np.where(sex == "f", 0.7, 0.15)).astype(int),
        "income": random.gamma(6.0, 500.0, count).round(0),
        "debt": random.gamma(2.0, 900.0, count).round(0),
        "years": random.integers(0, 30, count),
    }
)
pull = 0.5 - 0.0006 * (rows["income"] - 3_000) + 0.0008 * (rows["debt"] - 1_800) - 0.05 * rows["years"]
pull += 0.9 * rows["part_time"]
rows["defaulted"] = (random.random(count) < 1 / (1 + np.exp(0.6 - pull))).astype(int)
rows.to_parquet("rows.parquet", index=False)
print(rows.groupby("sex")["defaulted"].mean().round(3).to_string())
