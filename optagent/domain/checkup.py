"""Checkup: the state of an installation and of what it needs, one result a part."""

from dataclasses import dataclass
from enum import StrEnum


class CheckLevel(StrEnum):
    """The weight of a result: with a warning all works, with a fault something does not."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The state of one part; `remedy` says what to do about a warning or a fault."""

    name: str
    level: CheckLevel
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Checkup:
    """The results of all checks, in the order of their names' first use."""

    results: tuple[CheckResult, ...]

    @property
    def has_faults(self) -> bool:
        return any(result.level is CheckLevel.FAULT for result in self.results)


def ok(name: str, message: str) -> CheckResult:
    return CheckResult(name, CheckLevel.OK, message)


def warning(name: str, message: str, remedy: str) -> CheckResult:
    return CheckResult(name, CheckLevel.WARNING, message, remedy)


def fault(name: str, message: str, remedy: str) -> CheckResult:
    return CheckResult(name, CheckLevel.FAULT, message, remedy)
