"""What serving does under load, beside MLflow, MLServer, LitServe, BentoML and bare frameworks on the same machine.

Parts, by `--only`: `throughput`, `mixture` (of four slots, beside one model), `shadow` (what a candidate costs the
champion: in shadow, on split traffic, while it hangs), `candidate` (raises, hangs, answers NaN, crashes), `beside` (a
search on the same machine), `swap`, `kill`. The peers live in environments of their own, which `make bench-serve`
makes; one whose python is not given is left out. The load comes from wrk (Debian: wrk) where it is on the PATH. Nothing
else should run on the machine.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from tests.performance.serve_bench import beside, killing, misbehaving, shadowing, slots, swapping, throughput
from tests.performance.serve_bench.made import Made, make
from tests.performance.serve_bench.system import System, serving
from tests.performance.serve_bench.tables import say

PARTS = {"throughput": 0, "mixture": 0, "shadow": 1, "candidate": 1, "beside": 1, "swap": 2, "kill": 2}
"""By name, the replicas that a part needs; those with 0 bring up by themselves what they measure."""

PEERS = ("mlserver", "litserve", "bentoml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="repeat for several; all without it")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison")
    parser.add_argument("--rate", type=float, default=200, help="requests a second where all answers are checked")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"python of an environment with {name}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    began, well = time.perf_counter(), True
    with tempfile.TemporaryDirectory(prefix="optagent-bench-") as folder:
        made = make(Path(folder))
        for replicas in (0, 1, 2):
            names = [name for name in options.only or PARTS if PARTS[name] == replicas]
            well &= not names or _measured(made, Path(folder), replicas, names, options)
    print(f"\n{time.perf_counter() - began:.0f} s")
    sys.exit(0 if well else 1)


def _end(*_: object) -> None:
    """Stops what was started; another signal does not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def _measured(made: Made, folder: Path, replicas: int, names: list[str], options: argparse.Namespace) -> bool:
    """Whether all of these parts came to their end; one that does not is told of, and the next is tried."""
    well = True
    if replicas:
        say(f"bringing optagent up with {replicas} replica{'s' * (replicas > 1)}")
    try:
        up = serving(folder / f"replicas-{replicas}", replicas, made) if replicas else nullcontext()
        with up as system:
            for name in names:
                say(name)
                try:
                    _part(name, made, system, options)
                except RuntimeError as error:
                    print(f"\n{name} did not come to its end: {error}", flush=True)
                    well = False
    except RuntimeError as error:
        print(f"\n{', '.join(names)}: {error}", flush=True)
        well = False
    return well


def _part(name: str, made: Made, system: System | None, options: argparse.Namespace) -> None:
    seconds, rounds, rate = options.seconds, options.rounds, options.rate
    if name == "mixture":
        return slots.measure(made, seconds, rounds, rate)
    if system is None:
        pythons = dict.fromkeys(("uvicorn", "fastapi", "mlflow"), sys.executable)
        return throughput.measure(made, pythons | {peer: getattr(options, peer) for peer in PEERS}, seconds, rounds)
    parts: dict[str, Callable[[], None]] = {
        "shadow": lambda: shadowing.measure(system, seconds, rounds, rate),
        "candidate": lambda: misbehaving.measure(system, rate),
        "beside": lambda: beside.measure(system, seconds, rounds, rate),
        "swap": lambda: swapping.measure(system, rounds, rate),
        "kill": lambda: killing.measure(system, seconds, rate),
    }
    parts[name]()


if __name__ == "__main__":
    main()
