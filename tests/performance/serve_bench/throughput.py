"""Requests a second, of one row and of 100, at 16 connections: ours, the peers, and what bare frameworks do."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.performance.serve_bench import peers
from tests.performance.serve_bench.load import Target, Throughput, generator, throughput
from tests.performance.serve_bench.made import Made
from tests.performance.serve_bench.peers import Peer
from tests.performance.serve_bench.system import free_ports, serving
from tests.performance.serve_bench.tables import Figure, at_least, none, say, show, show_figures

OURS = "optagent"
ROWS = (1, 100)
WARM_UP_S = 2.0
PEERS = (peers.MLFLOW, peers.MLSERVER, peers.LITSERVE, peers.LITSERVE_FAST, peers.BENTOML)
BARE = (peers.FLOOR, peers.FASTAPI)


@dataclass
class Found:
    """The best of the rounds, by rows a request; or why there is none."""

    version: str = ""
    best: dict[int, Throughput] = field(default_factory=dict)
    failed: int = 0
    trouble: str = ""

    def add(self, rows: int, measured: Throughput) -> None:
        self.failed += measured.failed
        known = self.best.get(rows)
        if known is None or measured.requests_a_second > known.requests_a_second:
            self.best[rows] = measured

    def rate(self, rows: int) -> float:
        return self.best[rows].requests_a_second if rows in self.best else 0.0


def measure(made: Made, pythons: Mapping[str, str | None], seconds: float, rounds: int) -> None:
    """`pythons` by peer; one without is left out, and the table says so."""
    found: dict[str, Found] = {}
    for _ in range(rounds):
        for name in (OURS, *(peer.name for peer in (*BARE, *PEERS))):
            taken = found.setdefault(name, Found())
            say(f"throughput of {name}")
            try:
                with _serving(name, made, pythons) as (version, targets):
                    taken.version = version
                    for rows, target in targets.items():
                        throughput(target, WARM_UP_S)
                        taken.add(rows, throughput(target, seconds))
            except (RuntimeError, OSError) as error:
                taken.trouble = str(error)
    _report(found, seconds, rounds)


@contextmanager
def _serving(name: str, made: Made, pythons: Mapping[str, str | None]) -> Iterator[tuple[str, Mapping[int, Target]]]:
    with tempfile.TemporaryDirectory(prefix="optagent-bench-") as folder:
        if name == OURS:
            with serving(Path(folder) / "ours", 1, made) as system:
                yield "", {rows: system.target(rows) for rows in ROWS}
            return
        peer = next(one for one in (*BARE, *PEERS) if one.name == name)
        python = pythons[peer.package]
        if python is None:
            raise RuntimeError(f"left out: give --{peer.package} PYTHON")
        ports = free_ports(3)
        with peers.running(peer, python, made, Path(folder), ports) as version:
            yield version, {rows: _target(peer, ports[0], made, rows) for rows in ROWS}


def _target(peer: Peer, port: int, made: Made, rows: int) -> Target:
    return Target(port, peer.path, peers.asked(peer, made.rows[:rows]))


def _report(found: Mapping[str, Found], seconds: float, rounds: int) -> None:
    ours = found[OURS]
    lines = []
    for name, one in found.items():
        cells = [_cells(one.best.get(rows), ours.rate(rows)) for rows in ROWS]
        lines.append([name, one.version, *cells[0], *cells[1], one.trouble])
    columns = ["requests/s", "p50 ms", "p99 ms", "ours is times"]
    by_rows = [f"{rows} row{'s' * (rows > 1)}: {column}" for rows in ROWS for column in columns]
    header = ["", "version", *by_rows, "trouble"]
    show(f"Throughput: 16 connections, {seconds:g} s, best of {rounds}, load by {generator()}", header, lines)
    show_figures("Throughput, asked for", list(_figures(found)))


def _cells(measured: Throughput | None, ours: float) -> list[str]:
    if measured is None:
        return [""] * 4
    rate = measured.requests_a_second
    times = f"{ours / rate:.2f}" if rate and ours else ""
    return [f"{rate:,.0f}", f"{measured.p50_ms:.1f}", f"{measured.p99_ms:.1f}", times]


def _figures(found: Mapping[str, Found]) -> Iterator[Figure]:
    names = [peer.name for peer in PEERS]
    for rows, asked in ((1, 2.0), (100, 1.2)):
        best = max(names, key=lambda name: found[name].rate(rows))
        if found[best].rate(rows):
            ratio = found[OURS].rate(rows) / found[best].rate(rows)
            yield at_least(f"{rows} row{'s' * (rows > 1)}: ours by the best peer ({best})", ratio, asked)
    if bare := found[peers.FASTAPI.name].rate(1):
        yield at_least("1 row: ours by bare FastAPI with the same graph", found[OURS].rate(1) / bare, 0.5)
    yield none("requests that ours failed", found[OURS].failed)
