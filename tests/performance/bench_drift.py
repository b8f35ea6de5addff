"""What watching for drift costs: ours, and beside it Evidently's and NannyML's on the same rows.

The peers need other versions of pandas than this project; make each an environment of its own and give its python:

    python3 -m venv ev && ev/bin/pip install evidently "pandas<3.1"
    python3 -m venv nml && nml/bin/pip install nannyml "pandas<3.1"
    .venv/bin/python tests/performance/bench_drift.py --evidently ev/bin/python --nannyml nml/bin/python
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from optagent.analysis.binned_counts import BinCounter, BinnedCounts, merge
from optagent.analysis.drift import report_drift
from optagent.analysis.observed_rows import ObservedColumn, ObservedRows
from optagent.analysis.profile import Profile, make_profile
from optagent.analysis.whole_windows import LiveWindows
from optagent.codec import decode, encode
from optagent.domain.model import Task

WEEK = 7 * 24 * 3600
MEASURED = "measured: "

EVIDENTLY = """
import json, sys, time
import numpy as np, pandas as pd, evidently
from evidently import Report
from evidently.presets import DataDriftPreset
rows = np.load(sys.argv[1])
names = [f"c{i}" for i in range(rows["then"].shape[1])]
then, now = (pd.DataFrame(rows[side], columns=names) for side in ("then", "now"))
taken = []
for _ in range(2):
    start = time.process_time()
    Report([DataDriftPreset()]).run(now, then).dict()
    taken.append(time.process_time() - start)
print("measured: " + json.dumps({"seconds": min(taken), "version": evidently.__version__}))
"""

NANNYML = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, pandas as pd, nannyml
rows = np.load(sys.argv[1])
names = [f"c{i}" for i in range(rows["then"].shape[1])]
then, now = (pd.DataFrame(rows[side], columns=names) for side in ("then", "now"))
fitted = nannyml.UnivariateDriftCalculator(
    column_names=list(then), continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein"], chunk_number=1
).fit(then)
taken = []
for _ in range(2):
    start = time.process_time()
    fitted.calculate(now).to_df()
    taken.append(time.process_time() - start)
print("measured: " + json.dumps({"seconds": min(taken), "version": nannyml.__version__}))
"""


def observed(x: np.ndarray, start: float = 0.0) -> ObservedRows:
    """Rows spread over a week."""
    rows, columns = x.shape
    unknown = np.full(rows, np.nan)
    return ObservedRows(
        task=Task.BINARY,
        columns=tuple(ObservedColumn(f"c{index}", "numeric") for index in range(columns)),
        x=x,
        prediction=np.random.default_rng(9).random(rows),
        y=unknown,
        time=start + np.arange(rows) * (WEEK / rows),
        latency_ms=unknown,
        n_classes=2,
    )


def cpu_seconds(work: Callable[[], object], turns: int = 3) -> float:
    """The least of some turns."""
    taken = []
    for _ in range(turns):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def analysis(profile: bytes, now: ObservedRows, before: BinnedCounts) -> Callable[[], object]:
    """Everything from the stored profile and raw rows to a report."""

    def work() -> object:
        stored = decode(Profile, profile)
        folder = BinCounter(stored, WEEK / 32)
        return report_drift(stored, LiveWindows((folder.fold(now), before)), {}, 0.01)

    return work


def folding(profile: Profile, rng: np.random.Generator, columns: int, rows: int) -> list[tuple[str, str]]:
    """Rate, size and exactness of the state after so many rows."""
    folder = BinCounter(profile)
    chunk = observed(rng.normal(size=(200_000, columns)).astype(np.float32))
    seconds = cpu_seconds(lambda: folder.fold(chunk))
    whole, taken, parts = folder.empty(), 0, []
    while taken < rows:
        part = observed(rng.normal(size=(min(100_000, rows - taken), columns)).astype(np.float32))
        taken += len(part)
        folder.fold_into(whole, part)
        odd = np.arange(len(part)) % 2 == 1
        parts += [folder.fold(part.where(odd)), folder.fold(part.where(~odd))]
    exact = merge(*parts) == whole and merge(*reversed(parts)) == whole
    return [
        (f"folding, rows x {columns} columns a CPU second", f"{len(chunk) / seconds:,.0f}"),
        (f"state after {taken:,} rows of a week, {len(whole.buckets)} buckets", f"{whole.nbytes / 1e6:.1f} MB"),
        (f"{len(parts)} halves merged, in two orders, equal the whole", "yes" if exact else "NO"),
    ]


def peer(python: str, script: str, rows: Path) -> dict[str, object]:
    """What a script measures in another environment."""
    path = rows.with_name("peer.py")
    path.write_text(script)
    done = subprocess.run([python, str(path), str(rows)], capture_output=True, text=True, timeout=1800)
    for line in done.stdout.splitlines():
        if line.startswith(MEASURED):
            return dict(json.loads(line.removeprefix(MEASURED)))
    raise RuntimeError(f"{python} measured nothing: {(done.stderr.splitlines() or ['no message'])[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evidently", metavar="PYTHON", help="python of an environment with Evidently")
    parser.add_argument("--nannyml", metavar="PYTHON", help="python of an environment with NannyML")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--folded-rows", type=int, default=1_000_000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    then, now = (rng.normal(size=(options.rows, options.columns)).astype(np.float32) for _ in range(2))
    profile = make_profile(observed(then))
    before = BinCounter(profile, WEEK / 32).fold(observed(now, -WEEK))
    ours = cpu_seconds(analysis(encode(profile), observed(now), before))

    print(
        f"\n| {options.rows:,} rows x {options.columns} columns, all statistics | CPU s | times ours |\n|---|---|---|"
    )
    print(f"| optagent (reads the profile, folds the rows, reports) | {ours:.3f} | 1 |")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.npz"
        np.savez(rows, then=then, now=now)
        for name, python, script in (
            ("Evidently", options.evidently, EVIDENTLY),
            ("NannyML", options.nannyml, NANNYML),
        ):
            if python is None:
                print(f"| {name}: left out, give --{name.lower()} PYTHON | | |")
                continue
            found = peer(python, script, rows)
            seconds = float(str(found["seconds"]))
            print(f"| {name} {found['version']} | {seconds:.3f} | {seconds / ours:.0f} |")

    print("\n| | |\n|---|---|")
    print(f"| profile as JSON | {len(encode(profile)) / 1e3:,.0f} kB |")
    print(f"| making the profile, CPU s | {cpu_seconds(lambda: make_profile(observed(then)), 1):.2f} |")
    for what, figure in folding(profile, rng, options.columns, options.folded_rows):
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
