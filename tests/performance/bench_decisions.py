"""Error rates and power of every decision, measured by simulation: one table, each row of which runs alone.

python tests/performance/bench_decisions.py                      # all rows, some half hour on two cores
python tests/performance/bench_decisions.py --list
python tests/performance/bench_decisions.py guardrail-bursts-30  # the rows of these names, or that begin so
"""

import argparse
import importlib
import pkgutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.performance import decisions
from tests.performance.decisions.case import Case

_COLUMNS = "{:<44} {:<16} {:<34} {:<34} {:>14} {:>10} {:>16} {:>6} {:>7}"


def all_cases() -> list[Case]:
    """The cases of every module of `decisions`, in the order of their names there."""
    modules = [
        importlib.import_module(f"{decisions.__name__}.{each.name}")
        for each in pkgutil.iter_modules(decisions.__path__)
    ]
    return [case for module in modules for case in getattr(module, "CASES", ())]


def measure_case(name: str, runs: int | None) -> tuple[str, float, float]:
    """The name of a case, its figure and the seconds that it took."""
    case = next(each for each in all_cases() if each.name == name)
    start = time.perf_counter()
    return name, float(case.measure(runs or case.runs)), time.perf_counter() - start


def print_table(cases: list[Case], runs: int | None, processes: int) -> None:
    print(_COLUMNS.format("row", "decision", "stream", "figure", "asked", "measured", "before", "runs", "s"))
    with ProcessPoolExecutor(processes) as pool:
        for measured in [pool.submit(measure_case, case.name, runs) for case in cases]:
            name, figure, seconds = measured.result()
            case = next(each for each in cases if each.name == name)
            print(
                _COLUMNS.format(
                    case.name,
                    case.decision,
                    case.stream,
                    case.unit,
                    case.asked,
                    f"{figure:.4g}",
                    case.before,
                    runs or case.runs,
                    f"{seconds:.0f}",
                ),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="names of rows, or how they begin; all without any")
    parser.add_argument("--list", action="store_true", help="print the names only")
    parser.add_argument("--runs", type=int, help="runs of each row, in place of its own number")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    cases = [case for case in all_cases() if not args.names or case.name.startswith(tuple(args.names))]
    if not cases:
        sys.exit(f"no row is called {', '.join(args.names)}; --list names all")
    if args.list:
        print("\n".join(case.name for case in cases))
        return
    print_table(cases, args.runs, args.processes)


if __name__ == "__main__":
    main()
