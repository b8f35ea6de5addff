"""FLAML on rows from files, in an environment of its own: prints what its model loses on the holdout.

python flaml_run.py DEV.parquet HOLDOUT.parquet SECONDS CATEGORICAL,COLUMNS
"""

import json
import sys
import time

import pandas as pd
from flaml import AutoML
from sklearn.metrics import log_loss, roc_auc_score


def main() -> None:
    dev, holdout, seconds, categorical = sys.argv[1:]
    train, test = pd.read_parquet(dev), pd.read_parquet(holdout)
    names = [name for name in train.columns if name != "target"]
    for name in categorical.split(",") if categorical else []:
        levels = sorted(set(train[name].dropna()) | set(test[name].dropna()))
        for frame in (train, test):
            frame[name] = pd.Categorical(frame[name], categories=levels)
    began = time.perf_counter()
    automl = AutoML()
    automl.fit(
        train[names],
        train["target"].astype(int),
        task="classification",
        metric="log_loss",
        time_budget=float(seconds),
        n_jobs=2,
        ensemble={"passthrough": False},  # with it, a missing category ends its stacking
        estimator_list=["lgbm", "xgboost", "rf", "extra_tree", "lrl1"],
        seed=0,
        verbose=0,
    )
    took = time.perf_counter() - began
    said = automl.predict_proba(test[names])[:, 1]
    found = {"log_loss": log_loss(test["target"], said), "auc": roc_auc_score(test["target"], said), "seconds": took}
    print(json.dumps({**found, "best": str(automl.best_estimator)}))


if __name__ == "__main__":
    main()
