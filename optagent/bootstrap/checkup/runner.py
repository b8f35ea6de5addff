"""Checkup runner: takes all checks at once, each within a time limit, so that none of them holds up the others."""

import threading
import time
from collections.abc import Callable, Mapping

from optagent.domain.checkup import CheckResult, Checkup, fault

LIMIT_S = 24.0

Check = Callable[[], CheckResult | list[CheckResult]]


def run_checks(checks: Mapping[str, Check], limit_s: float = LIMIT_S) -> Checkup:
    """The results in the order of the checks; one that hangs or raises is a fault of its own.

    A check that hangs is left behind in its thread, which ends with the program.
    """
    outcomes: dict[str, list[CheckResult]] = {}
    threads = [
        threading.Thread(target=_record, args=(name, check, outcomes), name=f"check-{name}", daemon=True)
        for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(0.0, give_up - time.monotonic()))
    hung = "it may wait for a host name, a disk or a server that does not answer"
    results = [
        result
        for name in checks
        for result in outcomes.get(name, [fault(name, f"the check did not end within {limit_s:g} s", hung)])
    ]
    return Checkup(tuple(results))


def _record(name: str, check: Check, outcomes: dict[str, list[CheckResult]]) -> None:
    try:
        outcome = check()
        outcomes[name] = outcome if isinstance(outcome, list) else [outcome]
    except Exception as error:
        outcomes[name] = [fault(name, f"the check failed: {type(error).__name__}: {error}", "please report this")]
