"""What reasons cost: one row's, the three features of most weight, by family; 200 trees, 31 leaves, 20 columns.

The library's own contributions of the same rows are timed and compared, where a library has some. `first` is the time
from the arrays to the tables in a gateway, `tables` the memory that these then take.

PYTHONPATH=. .venv/bin/python tests/performance/bench_explain.py
"""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import lightgbm  # noqa: F401
import numpy as np
import pyarrow as pa
import xgboost
from threadpoolctl import threadpool_limits

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.serving.attribution_data import read_attribution
from optagent.serving.engine import ServedModel
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.reasons import RowExplainer
from optagent.training.encoding import encode, fit_schema, load_data
from optagent.training.families.catboost_model import CatBoostModel
from optagent.training.families.registry import FAMILIES
from optagent.training.manifest import FORMAT, Manifest
from optagent.training.predictor import Predictor
from tests.fakes.data_plane import PlaneCaller
from tests.performance.bench_engine import made

TRAIN, ASKED, CALLS, TREES = 20_000, 200, 1_000, 200
PARAMS: dict[str, dict[str, Any]] = {
    "lightgbm": {},
    "xgboost": {"max_depth": 5},
    "catboost": {"depth": 6},
    "hist_gradient_boosting": {},
    "random_forest": {"max_depth": 6},
    "linear": {},
}
TITLES = {"xgboost": " (depth 5)", "catboost": " (depth 6)", "random_forest": " (depth 6)"}

Call = Callable[[int], Any]


def train_predictor(family: str, table: pa.Table, **params: Any) -> Predictor:
    schema = fit_schema(table, ModelSpec("bench", Task.BINARY, FileSource("rows.csv"), "label"))
    data = load_data(table, schema)
    fit = FAMILIES[family].start(params, data, np.arange(len(data)), seed=1)
    rounds = FAMILIES[family].default_rounds if family == "linear" else TREES
    fit.advance(rounds)
    manifest = Manifest(FORMAT, "bench", Task.BINARY, family, {}, rounds, schema.classes, schema.names, 0.0)
    return Predictor(manifest, schema, fit.model())


def quantiles_ms(call: Call, calls: int = CALLS) -> tuple[float, float]:
    """The median and the 99th percentile of calls with the number of a row, after some that are not counted."""
    took = []
    for at in range(calls + 20):
        started_at = time.perf_counter()
        call(at % ASKED)
        took.append((time.perf_counter() - started_at) * 1e3)
    return float(np.median(took[20:])), float(np.quantile(took[20:], 0.99))


def library_call(predictor: Predictor, x: np.ndarray) -> Call | None:
    """The contributions of a row by the library itself, the base last; None where it computes none."""
    booster = getattr(predictor.model, "_booster", None)
    if predictor.manifest.family == "lightgbm":
        return lambda at: booster.predict(x[at : at + 1], pred_contrib=True, num_threads=1)[0]
    if isinstance(predictor.model, CatBoostModel):
        pool_of, shares = predictor.model._pool, predictor.model._booster.get_feature_importance
        return lambda at: shares(pool_of(x[at : at + 1]), type="ShapValues", thread_count=1)[0]
    if predictor.manifest.family != "xgboost":
        return None
    booster.set_param({"nthread": 1})
    types = booster.feature_types

    def call(at: int) -> np.ndarray:
        row = xgboost.DMatrix(x[at : at + 1], feature_types=types, enable_categorical=True, nthread=1)
        return booster.predict(row, pred_contribs=True)[0]

    return call


def show_family(family: str, title: str, table: pa.Table, calls: int = CALLS, **params: Any) -> None:
    predictor = train_predictor(family, table.slice(0, TRAIN), **params)
    x = encode(table.slice(TRAIN).drop_columns(["label"]), predictor.schema)
    scores, arrays = predictor.scores(x), read_attribution(predictor)
    tracemalloc.start()
    started_at = time.perf_counter()
    explainer = RowExplainer(predictor.schema, arrays)
    first_ms = (time.perf_counter() - started_at) * 1e3
    megabytes = tracemalloc.get_traced_memory()[0] / 1e6
    tracemalloc.stop()
    p50, p99 = quantiles_ms(lambda at: explainer.explain(x[at : at + 1], scores[at : at + 1], 3), calls)
    told = "| | "
    library = library_call(predictor, x)
    if library is not None:
        contributions = explainer._attributor.contributions(x)[:, 0]
        worst = max(float(np.abs(contributions[at] - library(at)[:-1]).max()) for at in range(ASKED))
        told = f"| {quantiles_ms(library)[0]:.2f} ms | {worst:.1e} "
    nodes = f"{len(arrays['left']):,}" if "left" in arrays else ""
    times = f"{p50:.2f} ms | {p99:.2f} ms {told}| {first_ms:.0f} ms | {megabytes:.1f} MB"
    print(f"| {title} | {nodes} | {times} |", flush=True)


class OneModelLoader:
    """A loader of one compiled model, with its explainer."""

    def __init__(self, predictor: Predictor) -> None:
        engine = compile_onnx(predictor).engine
        assert engine is not None
        self.model = ServedModel(predictor.schema, engine, "1")
        self.model.load_explainer = lambda: RowExplainer(predictor.schema, read_attribution(predictor))

    def load(self, model_id: str, version: str, digest: str = "") -> ServedModel:
        return self.model

    def keep(self, digests: object) -> None:
        """It keeps no bundles."""

    def close(self) -> None:
        """There is nothing to close."""


async def show_requests(table: pa.Table) -> None:
    """A request of one row, from its body to the bytes of its answer, without and with reasons; one after the other."""
    caller = PlaneCaller(OneModelLoader(train_predictor("lightgbm", table.slice(0, TRAIN))))
    await caller.start()
    rows = table.slice(TRAIN).drop_columns(["label"]).to_pylist()
    print("\n| request of one row | p50 | p99 |\n|---|---:|---:|")
    for title, more in (("plain", {}), ("with reasons", {"explain": 3})):
        took = []
        for at in range(CALLS + 20):
            body = json.dumps({"row": rows[at % ASKED], **more}).encode()
            started_at = time.perf_counter()
            status, answer = await caller.post(body)
            took.append((time.perf_counter() - started_at) * 1e3)
            assert status == 200, answer
        p50, p99 = np.quantile(took[20:], [0.5, 0.99])
        print(f"| {title} | {p50:.2f} ms | {p99:.2f} ms |", flush=True)
    await caller.plane.close()


def main() -> None:
    table = made(TRAIN + ASKED)
    with threadpool_limits(1):
        print("| family | nodes | p50 | p99 | library's own, p50 | largest difference | first | tables |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for family, params in PARAMS.items():
            show_family(family, family + TITLES.get(family, ""), table, **params)
        show_family("random_forest", "random_forest (its defaults)", table, 20)
        asyncio.run(show_requests(table))


if __name__ == "__main__":
    main()
