"""What an answer costs: native and ONNX engines by family, for 1, 100 and 10,000 rows by name, reading included.

.venv/bin/python tests/performance/bench_engine.py
"""

import time
from collections.abc import Callable
from functools import partial

import lightgbm  # noqa: F401
import numpy as np
import pyarrow as pa
import xgboost  # noqa: F401
from threadpoolctl import threadpool_limits

from optagent.domain.dataset import FileSource
from optagent.domain.model import ModelSpec, Task
from optagent.serving.engine import ServedModel
from optagent.serving.native_engine import NativeEngine
from optagent.serving.onnx_compiler import compile_onnx
from optagent.serving.parity import choose_engine
from optagent.serving.row_reader import RowReader
from optagent.training.encoding import encode, fit_schema, load_data
from optagent.training.families.registry import FAMILIES
from optagent.training.manifest import FORMAT, Manifest
from optagent.training.predictor import Predictor

TRAIN, MANY = 5_000, 10_000
LIMIT_S = 0.4


def made(rows: int) -> pa.Table:
    """Twenty columns: sixteen numbers with holes, four texts of few and of many levels."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(16, rows))
    texts = {f"few{at}": rng.choice(["a", "b", "c", "d"], rows) for at in range(2)}
    codes = rng.integers(0, 60, (2, rows))
    signal = numbers[0] - numbers[1] ** 2 + (texts["few0"] == "b") + codes[0] % 3 + rng.normal(size=rows)
    columns = {f"n{at}": pa.array(values, mask=rng.random(rows) < 0.05) for at, values in enumerate(numbers)}
    many = {f"many{at}": pa.array([f"level {code}" for code in values]) for at, values in enumerate(codes)}
    return pa.table({**columns, **texts, **many, "label": np.where(signal > 0.5, "yes", "no")})


def trained(family: str, table: pa.Table) -> Predictor:
    schema = fit_schema(table, ModelSpec("bench", Task.BINARY, FileSource("rows.csv"), "label"))
    data = load_data(table, schema)
    fit = FAMILIES[family].start({}, data, np.arange(len(data)), seed=1)
    rounds = FAMILIES[family].default_rounds
    fit.advance(rounds)
    manifest = Manifest(FORMAT, "bench", Task.BINARY, family, {}, rounds, schema.classes, schema.names, 0.0)
    return Predictor(manifest, schema, fit.model())


def typical_us(call: Callable[[], object]) -> float:
    """The median of calls for .4 seconds, at most 1,000 and at least one."""
    call()
    took: list[float] = []
    until = time.perf_counter() + LIMIT_S
    while len(took) < 1_000 and (not took or time.perf_counter() < until):
        started_at = time.perf_counter()
        call()
        took.append(time.perf_counter() - started_at)
    return float(np.median(took) * 1e6)


def main() -> None:
    table = made(TRAIN + MANY)
    served = table.slice(TRAIN).drop_columns(["label"])
    rows = served.to_pylist()
    print("| family | engine | 1 row | 100 rows | 10,000 rows | largest difference | compile |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with threadpool_limits(1):
        for family in FAMILIES:
            predictor = trained(family, table.slice(0, TRAIN))
            started_at = time.perf_counter()
            compiled = compile_onnx(predictor)
            compile_s = time.perf_counter() - started_at
            chosen = choose_engine(predictor, encode(served, predictor.schema), compiled)
            for engine in filter(None, (NativeEngine(predictor), compiled.engine)):
                model = ServedModel(predictor.schema, engine, "1")
                calls = [partial(model.answer, sent) for sent in (rows[0], rows[:100], rows)]
                one, some, many = map(typical_us, calls)
                told = f"{chosen.max_difference:.1e} | {compile_s:.2f} s" if engine.name == "onnx" else "|"
                print(f"| {family} | {engine.name} | {one:.0f} us | {some:,.0f} us | {many / 1e3:,.1f} ms | {told} |")
    reader = RowReader(predictor.schema)
    one, some, many = (typical_us(partial(reader.read, sent)) for sent in (rows[0], rows[:100], rows))
    print(f"| rows read alone | | {one:.0f} us | {some:,.0f} us | {many / 1e3:,.1f} ms | | |")
    table_ms = typical_us(partial(reader.read, served)) / 1e3
    print(f"| Arrow read alone | | | | {table_ms:,.1f} ms | | |")


if __name__ == "__main__":
    main()
