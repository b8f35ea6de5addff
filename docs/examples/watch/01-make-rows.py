"""A model that is served elsewhere: what it answered, and what came true. Its world changes on the eighth day."""

import numpy as np
import pandas as pd

random = np.random.default_rng(5)


def answered(first: str, days: int, slope: float, mean: float) -> pd.DataFrame:
    count = days * 400
    rows = pd.DataFrame({"load": random.normal(mean, 1, count), "heat": random.normal(0, 1, count)})
    rows["id"] = [f"{first} {number}" for number in range(count)]
    rows["time"] = pd.date_range(first, periods=count, freq=pd.Timedelta(days=days) / count, tz="UTC")
    rows["probability_1"] = 1 / (1 + np.exp(-1.5 * rows["load"]))
    rows["prediction"] = (rows["probability_1"] > 0.5).astype(int)
    rows["label"] = (random.random(count) < 1 / (1 + np.exp(-slope * rows["load"]))).astype(int)
    return rows


answered("2026-03-01", 21, 1.5, 0.0).to_parquet("reference.parquet", index=False)
live = pd.concat([answered("2026-04-01", 7, 1.5, 0.0), answered("2026-04-08", 7, 0.2, 0.0)])
live.drop(columns="label").to_parquet("answers.parquet", index=False)
live[["id", "label"]].assign(time=live["time"] + pd.Timedelta(days=1)).to_parquet("labels.parquet", index=False)
print(f"{len(live):,} answers")
