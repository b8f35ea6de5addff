"""AutoGluon's `best_quality` on rows from files, in an environment of its own: writes what it predicts for other rows.

python autogluon_run.py TRAIN.parquet TEST.parquet TARGET TASK SECONDS SEED PREDICTIONS.npy

AutoGluon takes no seed of a whole run: the seed is that of the split alone.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

ROWS = 20
METRICS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "root_mean_squared_error"}


def main() -> None:
    train_file, test_file, target, task, seconds, _, predictions = sys.argv[1:]
    train, test = pd.read_parquet(train_file), pd.read_parquet(test_file)
    x_test = test.drop(columns=target)
    began = time.perf_counter()
    predictor = TabularPredictor(target, problem_type=task, eval_metric=METRICS[task], path="autogluon", verbosity=0)
    predictor.fit(train, presets="best_quality", time_limit=float(seconds), num_cpus=2)
    took = time.perf_counter() - began

    def predict(rows: pd.DataFrame) -> np.ndarray:
        if task == "regression":
            return predictor.predict(rows).to_numpy()
        shares = predictor.predict_proba(rows)
        return shares[sorted(shares.columns)].to_numpy()

    np.save(predictions, predict(x_test).astype(np.float64))
    times = []
    for at in range(ROWS):
        began = time.perf_counter()
        predict(x_test.iloc[[at]])
        times.append(time.perf_counter() - began)
    print(json.dumps({"seconds": took, "row_ms": float(np.median(times) * 1e3), "best": predictor.model_best}))


if __name__ == "__main__":
    main()
