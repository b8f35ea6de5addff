"""Gates: the conditions that a trained candidate has to meet before it gets traffic, and their results."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from optagent.domain.study import Interval
from optagent.errors import InvalidRequest


class Verdict(StrEnum):
    """Outcome of a comparison. Only `PASS` ever promotes; `ERROR`: a statistic is missing or is no number."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Criterion(StrEnum):
    """The rule by which gates judge a candidate's improvement on the champion.

    `PROOF` proves it, one-sided, at the risk that the ledger gives the look. `FILTER` keeps out what is worse, or not
    better at a one-sided .20: shadow decides, and risks for it. `TWO_SIDED` is the rule of earlier decisions, which
    spent half of the risk of their look on the proof that a candidate is worse.
    """

    TWO_SIDED = "two_sided"
    PROOF = "proof"
    FILTER = "filter"


FILTER_ALPHA = 0.2
"""The share of equal candidates that a filter lets through to shadow."""

NOT_WORSE = "not_worse"
"""The value of `beats_champion` that admits a candidate no worse than the champion, within the margin."""

_SWITCHES = ("enable_bias_check", "enable_security_scan", "beats_constant", "strict")
_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Gates:
    """The conditions on a candidate, measured on rows that no search saw."""

    metrics_min: Mapping[str, float] = field(default_factory=dict)
    """The least values of metrics by name, for the estimate. Written as `<metric>_min`, such as `accuracy_min`."""
    metrics_max: Mapping[str, float] = field(default_factory=dict)
    """The greatest values of metrics by name, for the estimate. Written as `<metric>_max`, such as `log_loss_max`."""
    min_validation_samples: int = 100
    """The least number of holdout rows."""
    enable_bias_check: bool = False
    """True: the groups of each sensitive column are compared. For classifiers."""
    max_bias: float = 0.1
    """The largest difference between groups of a sensitive column."""
    enable_security_scan: bool = True
    """True: the candidate's files are checked, and loaded in a process of their own first."""
    max_latency_ms: float = 500.0
    """The limit of the 99th percentile of serving one row, in milliseconds."""
    beats_champion: bool | str = True
    """True: the candidate has to be better than the champion; `not_worse`: no worse, within the margin; false: it is
    not compared."""
    margin: float = 0.0
    """The loss that still counts as no worse, a share of the champion's score."""
    beats_constant: bool = False
    """True: the candidate has to be better than one answer to every row, for of two models without skill one is always
    luckier. After a change this also keeps out a model that has only begun to learn."""
    strict: bool = False
    """True: a metric whose interval contains its limit is inconclusive; false: it passes, and the reason says so."""
    max_coverage_gap: float = 0.05
    """The most by which 90 % intervals may cover less or more than 90 % of the holdout's newer half, beyond chance. For
    models with `intervals: true`; 1 switches it off."""

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
        _check_number("max_coverage_gap", self.max_coverage_gap)
        if not 0 < self.max_coverage_gap <= 1:
            raise InvalidRequest(f"max_coverage_gap must be above 0 and at most 1, got {self.max_coverage_gap!r}")
        if not self.max_latency_ms > 0:
            raise InvalidRequest(f"max_latency_ms must be above 0, got {self.max_latency_ms!r}")
        if not isinstance(self.beats_champion, bool) and self.beats_champion != NOT_WORSE:
            raise InvalidRequest(f"beats_champion must be true, false or {NOT_WORSE!r}, got {self.beats_champion!r}")
        _check_number("margin", self.margin)
        if not 0 <= self.margin < 1:
            raise InvalidRequest(f"margin must be at least 0 and below 1, got {self.margin!r}")


def gates_from(data: Mapping[str, Any]) -> Gates:
    """The gates that a user describes by fields of `Gates`, and by `<metric>_min` and `<metric>_max` for each metric.

    InvalidRequest lists the known names for an unknown one; `loop.gates` checks that a metric exists.

    >>> gates_from({"accuracy_min": 0.7, "log_loss_max": 0.6}).metrics_max
    {'log_loss': 0.6}
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest(f"gates are a mapping of names and limits, got {type(data).__name__}")
    field_names = {each.name for each in fields(Gates)} - {"metrics_min", "metrics_max"}
    options: dict[str, Any] = {}
    limits: dict[str, dict[str, float]] = {"_min": {}, "_max": {}}
    for name, value in data.items():
        end = name[-4:] if isinstance(name, str) else ""
        if name in field_names:
            options[name] = value
        elif end in limits and name[:-4]:
            _check_number(name, value)
            limits[end][name[:-4]] = value
        else:
            raise InvalidRequest(f"unknown gate {name!r}; one of {sorted(field_names)}, <metric>_min, <metric>_max")
    return Gates(metrics_min=limits["_min"], metrics_max=limits["_max"], **options)


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"{name} must be a finite number, got {value!r}")


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate. `measured` and `required` are numbers where the gate compares numbers.

    `reason` is a sentence with the measurement, its rows, its confidence and the requirement; `evidence` holds the
    numbers behind it.
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
    """The results of all gates. A candidate goes on only where the verdict is a pass.

    `rows` counts those of the holdout, `alpha` is the error rate of the intervals, and `look` is the number of this
    look at the holdout, where a ledger counted it.
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
        """The result of the gate of that name, None without one."""
        return next((each for each in self.results if each.name == name), None)


def verdict_of(results: Iterable[GateResult]) -> Verdict:
    """The worst verdict: an error, then a failure, then inconclusive, then a pass; no result at all is an error."""
    verdicts = {each.verdict for each in results}
    best = Verdict.PASS if verdicts else Verdict.ERROR
    return next((verdict for verdict in _WORST_FIRST if verdict in verdicts), best)


def judge_number(
    name: str, measured: float, required: float, at_most: bool, reason: str, evidence: Mapping[str, Any] | None = None
) -> GateResult:
    """The result of a number against a limit that it may just reach; an error where it is no number."""
    if not math.isfinite(measured):
        return GateResult(name, Verdict.ERROR, None, required, f"{measured} is no number; {reason}", evidence or {})
    good = measured <= required if at_most else measured >= required
    return GateResult(name, Verdict.PASS if good else Verdict.FAIL, measured, required, reason, evidence or {})


def judge_limit(name: str, interval: Interval, limit: float, at_most: bool, strict: bool, rows: int) -> GateResult:
    """The result of a metric against its limit: by the estimate, and if `strict` by the whole interval."""
    requirement = f"it had to be at {'most' if at_most else 'least'} {limit:.4g}"
    if not all(map(math.isfinite, (interval.estimate, interval.low, interval.high))):
        return GateResult(name, Verdict.ERROR, None, limit, f"the estimate or its interval is no number; {requirement}")
    reason = f"{interval_text(interval, rows)}; {requirement}"
    evidence = interval_evidence(interval, rows)
    result = judge_number(name, interval.estimate, limit, at_most, reason, evidence)
    sure = interval.high <= limit if at_most else interval.low >= limit
    if result.verdict is not Verdict.PASS or sure:
        return result
    verdict = Verdict.INCONCLUSIVE if strict else Verdict.PASS
    return GateResult(
        name, verdict, interval.estimate, limit, f"{reason}, and the interval reaches beyond it", evidence
    )


def judge_improvement(
    name: str, interval: Interval, champion: float, gates: Gates, against: str, metric: str, rows: int
) -> GateResult:
    """The result by `Criterion.TWO_SIDED` of the improvement over the champion, whose score is `champion`."""
    if not all(map(math.isfinite, (interval.estimate, interval.low, interval.high, champion))):
        return GateResult(name, Verdict.ERROR, None, None, f"the difference to {against} is no number")
    margin = gates.margin * abs(champion) if gates.beats_champion == NOT_WORSE else 0.0
    requirement = "the whole interval had to be above 0"
    good = interval.low > 0
    if gates.beats_champion == NOT_WORSE:
        requirement, good = f"the whole interval had to be at least {-margin:.4g}", interval.low >= -margin
    worse = interval.high < -margin
    verdict = Verdict.PASS if good else Verdict.FAIL if worse else Verdict.INCONCLUSIVE
    reason = f"better than {against} by {interval_text(interval, rows)} ({metric}); {requirement}"
    evidence = {**interval_evidence(interval, rows), "champion": champion}
    return GateResult(name, verdict, interval.estimate, -margin, reason, evidence)


def judge_skill(name: str, interval: Interval, metric: str, rows: int) -> GateResult:
    """The result of the candidate's improvement over a constant answer: the whole interval has to be above 0."""
    if not all(map(math.isfinite, (interval.estimate, interval.low, interval.high))):
        return GateResult(name, Verdict.ERROR, None, None, "the difference to a constant answer is no number")
    verdict = Verdict.PASS if interval.low > 0 else Verdict.FAIL if interval.high < 0 else Verdict.INCONCLUSIVE
    requirement = "the whole interval had to be above 0"
    reason = f"better than the same answer to every row by {interval_text(interval, rows)} ({metric}); {requirement}"
    return GateResult(name, verdict, interval.estimate, 0.0, reason, interval_evidence(interval, rows))


def interval_evidence(interval: Interval, rows: int) -> dict[str, Any]:
    return {"low": interval.low, "high": interval.high, "alpha": interval.alpha, "rows": rows}


def interval_text(interval: Interval, rows: int) -> str:
    """An interval in words.

    >>> interval_text(Interval(0.81, 0.79, 0.83, 0.05), 1000)
    '0.81 on 1,000 rows, between 0.79 and 0.83 at 95 % confidence'
    """
    return (
        f"{interval.estimate:.4g} on {rows:,} rows, between {interval.low:.4g} and {interval.high:.4g}"
        f" at {confidence_text(interval.alpha)} confidence"
    )


def confidence_text(alpha: float) -> str:
    """The confidence `1 - alpha` in percent, with enough digits to differ from 100.

    >>> confidence_text(0.05), confidence_text(0.0304), confidence_text(3e-7)
    ('95 %', '96.96 %', '99.99997 %')
    """
    digits = 2 if alpha >= 0.001 else math.ceil(-math.log10(alpha)) - 2
    return f"{f'{100 * (1 - alpha):.{digits}f}'.rstrip('0').rstrip('.')} %"
