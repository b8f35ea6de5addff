"""Gates: what a trained candidate has to show before it may meet traffic, and what each of them came to."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from optagent.domain.study import Interval
from optagent.errors import InvalidRequest


class Verdict(StrEnum):
    """Outcome of a comparison. Only `PASS` ever promotes; `ERROR`: a statistic is missing or is no number."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


NOT_WORSE = "not_worse"
"""The value of `beats_champion` that lets in what is no worse than the champion, within the margin."""

_SWITCHES = ("enable_bias_check", "enable_security_scan", "beats_constant", "strict")
_AFTER = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Gates:
    """What a candidate has to show, on rows that no search saw.

    `metrics_min` and `metrics_max` are limits of metrics by name, for the estimate; where a metric's interval holds the
    limit, it passes with that said, or is inconclusive if `strict`. `min_validation_samples` are rows of the holdout.
    `max_bias` is the largest difference between groups of a sensitive column. `max_latency_ms` is the 99th percentile
    of one row as it is served. `beats_champion` is True, False or "not_worse"; then `margin`, a share of the champion's
    score, is the loss that still counts as no worse. `beats_constant` asks for skill where there may be none: of two
    models that know nothing one is always the luckier. After a change it also keeps out what has only begun to learn.
    """

    metrics_min: Mapping[str, float] = field(default_factory=dict)
    metrics_max: Mapping[str, float] = field(default_factory=dict)
    min_validation_samples: int = 100
    enable_bias_check: bool = False
    max_bias: float = 0.1
    enable_security_scan: bool = True
    max_latency_ms: float = 500.0
    beats_champion: bool | str = True
    margin: float = 0.0
    beats_constant: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        for name, limit in (*self.metrics_min.items(), *self.metrics_max.items()):
            _check_number(f"the limit of {name}", limit)
        for name in sorted(set(self.metrics_min) & set(self.metrics_max)):
            if self.metrics_min[name] > self.metrics_max[name]:
                low, high = self.metrics_min[name], self.metrics_max[name]
                raise InvalidRequest(f"{name}_min must not be above {name}_max, got {low!r} and {high!r}")
        rows = self.min_validation_samples
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 1:
            raise InvalidRequest(f"min_validation_samples must be a whole number of at least 1, got {rows!r}")
        for name in _SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise InvalidRequest(f"{name} must be true or false, got {getattr(self, name)!r}")
        _check_number("max_bias", self.max_bias)
        if not 0 <= self.max_bias <= 1:
            raise InvalidRequest(f"max_bias must be between 0 and 1, got {self.max_bias!r}")
        _check_number("max_latency_ms", self.max_latency_ms)
        if not self.max_latency_ms > 0:
            raise InvalidRequest(f"max_latency_ms must be above 0, got {self.max_latency_ms!r}")
        if not isinstance(self.beats_champion, bool) and self.beats_champion != NOT_WORSE:
            raise InvalidRequest(f"beats_champion must be true, false or {NOT_WORSE!r}, got {self.beats_champion!r}")
        _check_number("margin", self.margin)
        if not 0 <= self.margin < 1:
            raise InvalidRequest(f"margin must be at least 0 and below 1, got {self.margin!r}")


def gates_from(data: Mapping[str, Any]) -> Gates:
    """Gates as a user writes them: the fields of `Gates`, with `<metric>_min` and `<metric>_max` for each metric.

    InvalidRequest lists the known names for an unknown one; whether a metric exists is for `loop.gate` to say.

    >>> gates_from({"accuracy_min": 0.7, "log_loss_max": 0.6}).metrics_max
    {'log_loss': 0.6}
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"gates are a mapping of names and limits, got {type(data).__name__}")
    known = {each.name for each in fields(Gates)} - {"metrics_min", "metrics_max"}
    chosen: dict[str, Any] = {}
    limits: dict[str, dict[str, float]] = {"_min": {}, "_max": {}}
    for name, value in data.items():
        end = name[-4:] if isinstance(name, str) else ""
        if name in known:
            chosen[name] = value
        elif end in limits and name[:-4]:
            _check_number(name, value)
            limits[end][name[:-4]] = value
        else:
            raise InvalidRequest(f"unknown gate {name!r}; one of {sorted(known)}, <metric>_min, <metric>_max")
    return Gates(metrics_min=limits["_min"], metrics_max=limits["_max"], **chosen)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"{name} must be a finite number, got {value!r}")


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate came to. `measured` and `required` are numbers where the gate is one of numbers.

    `reason` says in words what was measured, on how many rows, at which confidence, and what it had to be; `evidence`
    holds the numbers behind it.
    """

    name: str
    verdict: Verdict
    measured: float | None
    required: float | None
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("measured", "required"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise InvalidRequest(f"gate {self.name}: {name} must be a finite number or nothing, got {value!r}")


@dataclass(frozen=True, slots=True)
class GateReport:
    """What all gates came to. Only a report that is a pass lets a candidate on.

    `rows` are those of the holdout, `alpha` is the error rate of the intervals, and `look` which look at this holdout
    it was, where a ledger counted it.
    """

    results: tuple[GateResult, ...]
    verdict: Verdict
    rows: int
    alpha: float
    look: int | None = None

    def __post_init__(self) -> None:
        if self.verdict is not verdict_of(self.results):
            raise InvalidRequest(
                f"gates: the verdict of these results is {verdict_of(self.results)}, not {self.verdict}"
            )

    def result(self, name: str) -> GateResult | None:
        """The result of that name."""
        return next((each for each in self.results if each.name == name), None)


def verdict_of(results: Iterable[GateResult]) -> Verdict:
    """An error outweighs a failure, that what is inconclusive, that a pass; nothing judged is an error."""
    found = {each.verdict for each in results}
    return next((verdict for verdict in _AFTER if verdict in found), Verdict.PASS if found else Verdict.ERROR)


def judged_number(
    name: str, measured: float, required: float, at_most: bool, reason: str, evidence: Mapping[str, Any] | None = None
) -> GateResult:
    """A number against the limit that it may just reach; an error where it is no number."""
    if not math.isfinite(measured):
        return GateResult(name, Verdict.ERROR, None, required, f"{measured} is no number; {reason}", evidence or {})
    good = measured <= required if at_most else measured >= required
    return GateResult(name, Verdict.PASS if good else Verdict.FAIL, measured, required, reason, evidence or {})


def judged_limit(name: str, found: Interval, limit: float, at_most: bool, strict: bool, rows: int) -> GateResult:
    """A metric against its limit: by the estimate, and if `strict` by the whole interval."""
    needed = f"it had to be at {'most' if at_most else 'least'} {limit:.4g}"
    if not all(map(math.isfinite, (found.estimate, found.low, found.high))):
        return GateResult(name, Verdict.ERROR, None, limit, f"the estimate or its interval is no number; {needed}")
    said = f"{measured_as(found, rows)}; {needed}"
    evidence = evidence_of(found, rows)
    result = judged_number(name, found.estimate, limit, at_most, said, evidence)
    sure = found.high <= limit if at_most else found.low >= limit
    if result.verdict is not Verdict.PASS or sure:
        return result
    verdict = Verdict.INCONCLUSIVE if strict else Verdict.PASS
    return GateResult(name, verdict, found.estimate, limit, f"{said}, and the interval reaches beyond it", evidence)


def judged_improvement(
    name: str, found: Interval, champion: float, gates: Gates, against: str, metric: str, rows: int
) -> GateResult:
    """By how much the candidate is better than the champion, whose score is `champion`, against what is asked for."""
    if not all(map(math.isfinite, (found.estimate, found.low, found.high, champion))):
        return GateResult(name, Verdict.ERROR, None, None, f"the difference to {against} is no number")
    margin = gates.margin * abs(champion) if gates.beats_champion == NOT_WORSE else 0.0
    needed = "the whole interval had to be above 0"
    good = found.low > 0
    if gates.beats_champion == NOT_WORSE:
        needed, good = f"the whole interval had to be at least {-margin:.4g}", found.low >= -margin
    worse = found.high < -margin
    verdict = Verdict.PASS if good else Verdict.FAIL if worse else Verdict.INCONCLUSIVE
    reason = f"better than {against} by {measured_as(found, rows)} ({metric}); {needed}"
    return GateResult(
        name, verdict, found.estimate, -margin, reason, {**evidence_of(found, rows), "champion": champion}
    )


def judged_skill(name: str, found: Interval, metric: str, rows: int) -> GateResult:
    """By how much the candidate is better than an answer that is the same for every row: the interval is above 0."""
    if not all(map(math.isfinite, (found.estimate, found.low, found.high))):
        return GateResult(name, Verdict.ERROR, None, None, "the difference to a constant answer is no number")
    verdict = Verdict.PASS if found.low > 0 else Verdict.FAIL if found.high < 0 else Verdict.INCONCLUSIVE
    needed = "the whole interval had to be above 0"
    reason = f"better than the same answer to every row by {measured_as(found, rows)} ({metric}); {needed}"
    return GateResult(name, verdict, found.estimate, 0.0, reason, evidence_of(found, rows))


def evidence_of(found: Interval, rows: int) -> dict[str, Any]:
    return {"low": found.low, "high": found.high, "alpha": found.alpha, "rows": rows}


def measured_as(found: Interval, rows: int) -> str:
    """An interval in words.

    >>> measured_as(Interval(0.81, 0.79, 0.83, 0.05), 1000)
    '0.81 on 1,000 rows, between 0.79 and 0.83 at 95 % confidence'
    """
    return (
        f"{found.estimate:.4g} on {rows:,} rows, between {found.low:.4g} and {found.high:.4g}"
        f" at {confidence(found.alpha)} confidence"
    )


def confidence(alpha: float) -> str:
    """What `1 - alpha` is in percent, with as many digits as tell it from 100.

    >>> confidence(0.05), confidence(0.0304), confidence(3e-7)
    ('95 %', '96.96 %', '99.99997 %')
    """
    digits = 2 if alpha >= 0.001 else math.ceil(-math.log10(alpha)) - 2
    return f"{f'{100 * (1 - alpha):.{digits}f}'.rstrip('0').rstrip('.')} %"
