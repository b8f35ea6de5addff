"""Timeline of a demo: its events, printed as they happen and kept for its pages."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from optagent.domain.process import Process


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened: `seconds` into the demo, on a `day` of the market."""

    seconds: float
    day: Any
    kind: str
    text: str


class Timeline:
    """The events so far; `day` answers the present day of the market, None before its first."""

    def __init__(self, console: Console) -> None:
        self.began = time.monotonic()
        self.moments: list[Moment] = []
        self.day: Callable[[], Any] = lambda: None
        self._console = console
        self._keys: set[str] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, kind: str, text: str) -> None:
        day = self.day()
        moment = Moment(self.seconds, day, kind, text)
        self.moments.append(moment)
        when = f"{day:%Y-%m-%d}" if day is not None else " " * 10
        seconds = f"[dim]{moment.seconds:5.0f} s[/dim]"
        self._console.print(
            f"{seconds}  {when}  [bold]{escape(kind):<9}[/bold] {escape(text)}", soft_wrap=True, highlight=False
        )

    def say_once(self, key: str, kind: str, text: str) -> None:
        """Says it unless something of this key was said."""
        if key not in self._keys:
            self._keys.add(key)
            self.say(kind, text)

    def say_process(self, process: Process) -> None:
        """Says the cause of an optimization, and its end once it has ended, each once."""
        key, command = process.process_id, process.command
        self.say_once(key, "policy", f"{command.get('trigger')}: {command.get('reason')}")
        if process.status.has_ended:
            result = process.result or {}
            slots = ", ".join(f"{name}: version {version}" for name, version in (result.get("slots") or {}).items())
            message = process.error or result.get("error_message") or f"new models answer beside the others: {slots}"
            self.say_once(f"{key} end", process.outcome or str(process.status), str(message))


def trained_models(processes: Sequence[Process]) -> int:
    """The number of models that optimizations have trained and put into slots."""
    return sum(len((process.result or {}).get("slots") or {}) for process in processes)
