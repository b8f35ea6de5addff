"""What is served: a LightGBM classifier of 20 numbers, as the files that each server opens, and rows to ask about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from optagent.domain.model import Task
from optagent.serving.boosted_trees import lightgbm_forest
from optagent.serving.onnx_engine import INPUT
from optagent.serving.onnx_graph import Graph, add_forest

MODEL = "bench"
COLUMNS = tuple(f"c{number}" for number in range(20))
TRAIN, ASKED = 20_000, 1_000
TREES, LEAVES = 200, 31


@dataclass(frozen=True)
class Made:
    """The folder with `model.txt`, `model.onnx`, the MLflow models `champion` and `candidate`, and `rows.parquet`.

    `rows` are those asked about, `x` the same as a matrix, `champion` and `candidate` the probabilities of class 1.
    """

    folder: Path
    rows: list[dict[str, float]]
    x: np.ndarray
    champion: np.ndarray
    candidate: np.ndarray


def make(folder: Path) -> Made:
    """Trains both versions, which answer a little differently, and writes their files."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAIN + ASKED, len(COLUMNS))).round(4)
    signal = x[:, 0] - x[:, 1] ** 2 + x[:, 2] * x[:, 3] + rng.normal(size=len(x))
    frame = pd.DataFrame(x, columns=list(COLUMNS))
    frame.assign(label=(signal > 0).astype(int))[:TRAIN].to_parquet(folder / "rows.parquet", index=False)
    versions = [_trained(x[:TRAIN], signal[:TRAIN] > 0, seed) for seed in (1, 2)]
    champion, candidate = versions
    champion.save_model(folder / "model.txt")
    (folder / "model.onnx").write_bytes(_onnx(champion))
    for name, booster in zip(("champion", "candidate"), versions, strict=True):
        _save_for_mlflow(booster, folder / name, frame[:5])
    asked = x[TRAIN:]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in asked.tolist()]
    return Made(folder, rows, asked, np.asarray(champion.predict(asked)), np.asarray(candidate.predict(asked)))


def model_yaml(folder: Path, **more: Any) -> dict[str, Any]:
    """What `optagent register` is told."""
    data = str(folder / "rows.parquet")
    return {"model_id": MODEL, "task": "binary", "data": data, "target": "label", **more}


def _trained(x: np.ndarray, y: np.ndarray, seed: int) -> lightgbm.Booster:
    params = {"objective": "binary", "num_leaves": LEAVES, "seed": seed, "num_threads": 1, "verbose": -1}
    params |= {"bagging_fraction": 0.8, "bagging_freq": 1}
    return lightgbm.train(params, lightgbm.Dataset(x, y, feature_name=list(COLUMNS)), TREES)


def _onnx(booster: lightgbm.Booster) -> bytes:
    graph = Graph(len(COLUMNS))
    return graph.model(add_forest(graph, lightgbm_forest(booster, Task.BINARY, 1), INPUT), 1)


def _save_for_mlflow(booster: lightgbm.Booster, path: Path, example: pd.DataFrame) -> None:
    import mlflow
    from mlflow.models import infer_signature

    signature = infer_signature(example, np.zeros(len(example)))
    mlflow.lightgbm.save_model(booster, path, signature=signature, pip_requirements=["lightgbm"])
