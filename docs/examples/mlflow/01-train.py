"""A LightGBM model that somebody trained and logged with plain MLflow, before optagent was there."""

import lightgbm as lgb
import mlflow
import numpy as np
import pandas as pd

random = np.random.default_rng(3)
rows = pd.DataFrame({name: random.normal(size=4_000) for name in ("load", "heat", "age")})
pull = 1.5 * rows["load"] + np.abs(rows["heat"]) - 0.5 * rows["age"]
rows["failed"] = (random.random(len(rows)) < 1 / (1 + np.exp(2 - pull))).astype(int)
rows.to_parquet("rows.parquet", index=False)

features = rows.drop(columns="failed")
model = lgb.LGBMClassifier(n_estimators=60, num_leaves=15, verbose=-1, n_jobs=1).fit(
    features[:3200], rows["failed"][:3200]
)
signature = mlflow.models.infer_signature(features, model.predict(features))
mlflow.lightgbm.save_model(model, "old_model", signature=signature)
print("saved old_model")
