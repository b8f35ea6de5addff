"""The time and the memory that the history of served rows takes on this machine, against an embedded Redis.

python tests/performance/bench_history.py
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.adapters.state.redis.histories import RedisHistories
from optagent.training.history.plan import HistoryPlan
from optagent.training.history.series import history_matrix
from optagent.training.history.state import PastRow, kept_rows, past_row, served_history

PLAN = HistoryPlan("at", ("amount", "price"), "customer", lags=(1, 7), rolling=(7, 30))
SERIES, REQUESTS = 2_000, 3_000


def new_row(rng: np.random.Generator, number: int) -> tuple[str, PastRow]:
    values = rng.normal(size=2).tolist()
    return f"customer {number % SERIES}", past_row(1.7e9 + number, values, f"{number:024x}")


async def measure(histories: RedisHistories) -> None:
    rng = np.random.default_rng(0)
    rows = [new_row(rng, number) for number in range(SERIES * kept_rows(PLAN))]
    before = int((await histories._link.redis.info("memory"))["used_memory"])
    started = time.perf_counter()
    await histories.keep("m", PLAN, rows)
    took = time.perf_counter() - started
    memory = int((await histories._link.redis.info("memory"))["used_memory"]) - before
    print(f"kept {len(rows):,} rows, {len(rows) / took:,.0f} a second, {memory / len(rows):.0f} bytes each")
    reads, computes, writes = [], [], []
    for number in range(REQUESTS):
        asked = [(f"customer {int(rng.integers(SERIES))}", 1.8e9)]
        start = time.perf_counter()
        (past,) = await histories.pasts("m", PLAN, asked)
        read = time.perf_counter()
        served_history(PLAN, past, 1.8e9)
        computed = time.perf_counter()
        await histories.keep("m", PLAN, [new_row(rng, len(rows) + number)])
        reads.append(read - start)
        computes.append(computed - read)
        writes.append(time.perf_counter() - computed)
    for name, seconds in (("read from Redis", reads), ("compute", computes), ("keep, beside the answer", writes)):
        print(f"{name}: p50 {_ms(seconds, 0.5)}, p99 {_ms(seconds, 0.99)}")


def measure_table(count: int) -> None:
    rng = np.random.default_rng(0)
    keys, times = rng.integers(0, count // 50, count), rng.integers(0, 10 * count, count).astype(np.float64)
    started = time.perf_counter()
    history_matrix(PLAN, keys, times, rng.normal(size=(count, 2)))
    print(f"a table of {count:,} rows: {time.perf_counter() - started:.1f} s")


def _ms(seconds: Sequence[float], share: float) -> str:
    return f"{np.quantile(seconds, share) * 1000:.2f} ms"


async def main() -> None:
    with tempfile.TemporaryDirectory() as home, EmbeddedRedis(Path(home)) as server:
        histories = RedisHistories(server.url, read_s=5.0)
        await measure(histories)
        await histories.close()
    measure_table(100_000)
    measure_table(1_000_000)


if __name__ == "__main__":
    asyncio.run(main())
