"""A busy model in a short run of the soak: what Redis and the disk hold does not grow once the first days are full."""

from pathlib import Path

import pytest

from tests.performance.bench_soak import SHORT, growth, run


@pytest.mark.timeout(300)
async def test_redis_and_disk_stay_flat_once_the_first_days_are_full(tmp_path: Path):
    sizes = await run(tmp_path, days=32, rows_a_day=480, kept=SHORT, every=1)
    later = growth(sizes[15:])
    assert later["rows"] == pytest.approx(1.0, abs=0.15)
    for name in ("archive_mb", "manifest_kb", "files", "versions_mb"):
        assert later[name] < 1.2, (name, later)
    assert later["redis_mb"] < 1.3, later  # processes of optimizations and links of the log: they end after a year
