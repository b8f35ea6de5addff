"""Load on a server of this machine, and what came of it."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CLIENT = Path(__file__).with_name("client.py")
VALUE = r'"1":\s*([0-9.eE+-]+)'
"""Where our answers hold the probability of class 1."""

Column = npt.NDArray[Any]

MOST_SECONDS, MOST_CONNECTIONS = 3600.0, 256


@dataclass(frozen=True)
class Target:
    """A POST that is sent over and over."""

    port: int
    path: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request(self) -> str:
        """The bytes that go over the wire, which are all ASCII."""
        told = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return f"POST {self.path} HTTP/1.1\r\n{head}Content-Length: {len(self.body)}\r\n\r\n{self.body}"


_BY_ANSWER = ("due", "sent", "done", "status", "version", "value")


@dataclass(frozen=True)
class Answers:
    """One entry a request, by the order of the answers; times are POSIX seconds, `version` "" where there was none.

    `status` is that of HTTP, 0 for a connection refused or broken, -1 for no answer in time.
    """

    due: Column
    sent: Column
    done: Column
    status: Column
    version: Column
    value: Column
    late_s: float

    @classmethod
    def read(cls, path: Path) -> "Answers":
        with np.load(path) as found:
            due, sent, done, status, code, value = found["rows"].T
            names = np.array([*found["versions"], ""])
            return cls(due, sent, done, status.astype(int), names[code.astype(int)], value, float(found["late_s"]))

    def __len__(self) -> int:
        return len(self.due)

    def where(self, chosen: Column) -> "Answers":
        return replace(self, **{name: getattr(self, name)[chosen] for name in _BY_ANSWER})

    @property
    def good(self) -> Column:
        return np.asarray(self.status == 200)

    @property
    def failed(self) -> int:
        return int(np.count_nonzero(~self.good))

    @property
    def ms(self) -> Column:
        """How long each took, waiting for a connection included."""
        return (self.done - self.due) * 1e3

    def percentile(self, percent: float) -> float:
        """Of the milliseconds of those that were answered; NaN without any."""
        took = self.ms[self.good]
        return float(np.percentile(took, percent)) if len(took) else float("nan")

    @property
    def outage_s(self) -> float:
        """The longest time without a good answer around a failed request; 0 where none failed."""
        bad = self.done[~self.good]
        if not len(bad):
            return 0.0
        good = np.sort(self.done[self.good])
        edges = np.concatenate([[self.due.min()], good, [self.done.max()]])
        place = np.searchsorted(edges, bad).clip(1, len(edges) - 1)
        return float((edges[place] - edges[place - 1]).max())

    def told_failures(self) -> str:
        """How often each bad status came."""
        statuses, counts = np.unique(self.status[~self.good], return_counts=True)
        names = {0: "lost", -1: "no answer"}
        return ", ".join(
            f"{names.get(status, status)}: {count}" for status, count in zip(statuses.tolist(), counts, strict=True)
        )


class Load:
    """A load generator at work; leaving the block ends it."""

    def __init__(
        self, target: Target, seconds: float, rate: float = 0.0, connections: int = 16, timeout_s: float = 15.0
    ) -> None:
        if not 0 < seconds <= MOST_SECONDS or not 0 < connections <= MOST_CONNECTIONS:
            raise ValueError(
                f"{seconds} s and {connections} connections: at most {MOST_SECONDS} and {MOST_CONNECTIONS}"
            )
        self._seconds, self._timeout_s = seconds, timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="optagent-load-")
        order: dict[str, Any] = {
            "port": target.port,
            "request": target.request,
            "seconds": seconds,
            "rate": rate,
            "connections": connections,
            "timeout_s": timeout_s,
            "value": VALUE,
        }
        told, self._out = (Path(self._folder.name) / name for name in ("order.json", "answers.npz"))
        told.write_text(json.dumps(order))
        self._process = subprocess.Popen([sys.executable, str(CLIENT), str(told), str(self._out)])

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def stop(self) -> None:
        """Sends no more; what is under way is still answered."""
        self._process.terminate()

    def answers(self) -> Answers:
        """All of them, when the time is over."""
        if self._process.wait(self._seconds + self._timeout_s + 30):
            raise RuntimeError(f"the load generator ended with {self._process.returncode}")
        return Answers.read(self._out)


def loaded(target: Target, seconds: float, rate: float = 0.0, connections: int = 16) -> Answers:
    """The answers to a load that nothing happens under."""
    with Load(target, seconds, rate, connections) as load:
        return load.answers()


@dataclass(frozen=True)
class Throughput:
    requests_a_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "a client in Python: install wrk, which needs less of the machine"


def throughput(target: Target, seconds: float, connections: int = 16) -> Throughput:
    """As many requests as are answered, by wrk where it is installed."""
    if shutil.which("wrk") is None:
        found = loaded(target, seconds, 0.0, connections)
        answered = int(np.count_nonzero(found.good))
        return Throughput(answered / seconds, found.percentile(50), found.percentile(99), found.failed)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_lua(target))
        script.flush()
        address = f"http://127.0.0.1:{target.port}{target.path}"
        command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds:.0f}s", "--timeout=15s"]
        done = subprocess.run(
            [*command, "--script", script.name, address], capture_output=True, text=True, timeout=seconds + 60
        )
    told = re.search(r"^told: (\S+) (\S+) (\S+) (\S+)$", done.stdout, re.MULTILINE)
    if told is None:
        raise RuntimeError(f"wrk measured nothing: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    rate, p50, p99, failed = map(float, told.groups())
    return Throughput(rate, p50, p99, int(failed))


def _lua(target: Target) -> str:
    headers = "".join(
        f"wrk.headers[ {_quoted(name)} ] = {_quoted(value)}\n"
        for name, value in {"Content-Type": "application/json", **target.headers}.items()
    )
    return f"""wrk.method = "POST"
wrk.body = {_quoted(target.body)}
{headers}
function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local rate = (summary.requests - errors.status) / summary.duration * 1e6
  print(string.format("told: %f %f %f %d", rate, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
"""


def _quoted(text: str) -> str:
    """As a long string of Lua, in which nothing needs to be escaped."""
    assert "]==]" not in text
    return f"[==[{text}]==]"
