"""FLAML on rows from files, in an environment of its own: writes what its model predicts for the test rows.

python flaml_run.py TRAIN.parquet TEST.parquet TARGET TASK SECONDS SEED PREDICTIONS.npy
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from flaml import AutoML

ROWS = 20


def main() -> None:
    train_file, test_file, target, task, seconds, seed, predictions = sys.argv[1:]
    train, test = pd.read_parquet(train_file), pd.read_parquet(test_file)
    x, x_test = train.drop(columns=target), test.drop(columns=target)
    for name in x.columns:
        if not pd.api.types.is_numeric_dtype(x[name]):
            levels = sorted(set(x[name].dropna()) | set(x_test[name].dropna()))
            x[name] = pd.Categorical(x[name], categories=levels)
            x_test[name] = pd.Categorical(x_test[name], categories=levels)
    classifies = task != "regression"
    began = time.perf_counter()
    automl = AutoML()
    automl.fit(
        x,
        train[target],
        task="classification" if classifies else "regression",
        metric="log_loss" if classifies else "rmse",
        time_budget=float(seconds),
        n_jobs=2,
        ensemble={"passthrough": False},  # with it, a missing category ends its stacking
        estimator_list=["lgbm", "xgboost", "rf", "extra_tree", *(["lrl1"] if classifies else [])],
        seed=int(seed),
        verbose=0,
    )
    took = time.perf_counter() - began
    predict = automl.predict_proba if classifies else automl.predict
    np.save(predictions, np.asarray(predict(x_test), dtype=np.float64))
    times = []
    for at in range(ROWS):
        began = time.perf_counter()
        predict(x_test.iloc[[at]])
        times.append(time.perf_counter() - began)
    print(json.dumps({"seconds": took, "row_ms": float(np.median(times) * 1e3), "best": str(automl.best_estimator)}))


if __name__ == "__main__":
    main()
