"""Two measurements of three kinds of parts, some missing. Writes rows.csv."""

import numpy as np
import pandas as pd

random = np.random.default_rng(1)
kind = random.choice(["bolt", "nut", "washer"], 600)
centre = np.array([{"bolt": (0, 0), "nut": (2, 0), "washer": (1, 2)}[name] for name in kind])
length, weight = (centre + random.normal(scale=0.7, size=(600, 2))).T
length[random.random(600) < 0.05] = np.nan
pd.DataFrame({"length": length, "weight": weight, "kind": kind}).to_csv("rows.csv", index=False)
print("600 rows")
