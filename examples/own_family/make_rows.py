"""Writes rows.csv: two measurements of three kinds of parts, some missing."""

from pathlib import Path

import numpy as np
import pandas as pd


def main(folder: Path) -> None:
    """The same rows each time."""
    rng = np.random.default_rng(1)
    kind = rng.choice(["bolt", "nut", "washer"], 600)
    centre = np.array([{"bolt": (0, 0), "nut": (2, 0), "washer": (1, 2)}[name] for name in kind])
    length, weight = (centre + rng.normal(scale=0.7, size=(600, 2))).T
    length[rng.random(600) < 0.05] = np.nan
    pd.DataFrame({"length": length, "weight": weight, "kind": kind}).to_csv(folder / "rows.csv", index=False)


if __name__ == "__main__":
    main(Path(__file__).parent)
