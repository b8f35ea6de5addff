"""Data and prediction drift: the report of a window of live counts against a reference profile."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optagent.analysis.drift_evidence import ColumnEvidence, WindowCounts, column_evidence
from optagent.analysis.drift_summary import GRAVITY, column_drift
from optagent.analysis.drift_tests import benjamini_hochberg
from optagent.analysis.profile import ColumnProfile, Profile
from optagent.analysis.reference_series import DAY_S
from optagent.analysis.whole_windows import LiveWindows, compare_whole_windows, missing_weekdays
from optagent.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftStatus, DriftTest
from optagent.errors import InvalidRequest

_UNKNOWN_WEEKDAY = 0.3  # the effect that a weekend half a standard deviation higher can have in a few hundred rows


@dataclass(frozen=True, slots=True)
class DriftRule:
    """The least effects that alarm, however significant smaller ones are: on values, on missing and unseen shares."""

    effect_floor: float = 0.05
    share_floor: float = 0.01

    def __post_init__(self) -> None:
        for name in ("effect_floor", "share_floor"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 0 and below 1, got {getattr(self, name)!r}")

    def floor(self, check: DriftCheck) -> float:
        return self.effect_floor if check is DriftCheck.VALUES else self.share_floor


def report_drift(
    profile: Profile,
    live: LiveWindows,
    importances: Mapping[str, float],
    level: float,
    rule: DriftRule | None = None,
) -> DriftReport:
    """The drift of a window, and of those of the same length before it, from the reference.

    `level` is the chance of a false alarm a window: its length over the mean time between false alarms. The features
    and the model's output are two families of tests, each held to it. A feature has drifted where it differs in two
    stretches of windows in a row, or in this window beyond doubt: at `level` squared, as rare as two false alarms in a
    row. Importances that are unknown count as 0, and where all are 0 all features weigh the same.
    """
    if not 0 < level < 1:
        raise InvalidRequest(f"level must be between 0 and 1, got {level!r}")
    rule = rule or DriftRule()
    whole = compare_whole_windows(profile, live)
    evidence = _evidence_of_rows(profile, live) if whole is None else whole.evidence
    unknown = missing_weekdays(profile, live)
    if unknown:
        rule = replace(rule, effect_floor=max(rule.effect_floor, _UNKNOWN_WEEKDAY))
    now = WindowCounts.of(live.counts[0])
    split = len(profile.features)
    weights = [*_weights(profile.features, importances), *[0.0] * len(profile.predictions)]
    drifts: list[ColumnDrift] = []
    for family in (range(split), range(split, len(profile.columns))):
        evidence_by_column = [evidence[column] for column in family]
        tests_by_column = _test_columns(evidence_by_column, level, rule)
        for column, tests_of, tests in zip(family, evidence_by_column, tests_by_column, strict=True):
            effective_rows = 1 / tests_of[0].now.noise if tests_of and tests_of[0].check is DriftCheck.VALUES else 0.0
            drifts.append(column_drift(profile.columns[column], column, now, weights[column], tests, effective_rows))
    features, predictions = tuple(drifts[:split]), tuple(drifts[split:])
    return DriftReport(
        rows_then=profile.rows,
        rows_now=live.counts[0].rows,
        rows_before=live.counts[1].rows if len(live.counts) > 1 else None,
        level=level,
        status=_gravest_status(features),
        score=min(1.0, sum(one.weight * _alarming_effect(one) for one in features)),
        features=features,
        prediction_status=_gravest_status(predictions),
        prediction_score=max((_alarming_effect(one) for one in predictions), default=0.0),
        predictions=predictions,
        comparison=_unknown_text(profile, unknown) if whole is None else whole.comparison,
        windows=len(live.in_a_row[:2]) if whole is None else whole.windows,
    )


def _evidence_of_rows(profile: Profile, live: LiveWindows) -> list[list[ColumnEvidence]]:
    """The evidence of the window and the one before, with design effects from blocks of rows."""
    now = WindowCounts.of(live.counts[0])
    before = next((WindowCounts.of(counts) for counts in live.counts[1:2] if counts.rows), None)
    return [list(column_evidence(profile, column, now, before)) for column in range(len(profile.columns))]


def _unknown_text(profile: Profile, weekdays: Sequence[str]) -> str:
    if not weekdays or profile.span is None:
        return "" if profile.span is None else "against all rows of the reference, their memory by blocks of rows"
    days = (profile.span[1] - profile.span[0]) / DAY_S
    return (
        f"against a reference of {days:.1f} days, too short to know a week: it has no {' or '.join(weekdays)}, so that"
        f" only effects from {_UNKNOWN_WEEKDAY:g} on count"
    )


def _test_columns(
    columns: Sequence[Sequence[ColumnEvidence]], level: float, rule: DriftRule
) -> list[tuple[DriftTest, ...]]:
    """The tests of each column, with their status among the tests of all of them."""
    tests = [test for column in columns for test in column]
    single = iter(benjamini_hochberg([test.now.p_value for test in tests]))
    paired = iter(benjamini_hochberg([1.0 if test.pair is None else test.pair for test in tests]))
    return [tuple(_drift_test(test, next(single), next(paired), level, rule) for test in column) for column in columns]


def _drift_test(test: ColumnEvidence, single: float, paired: float, level: float, rule: DriftRule) -> DriftTest:
    floor = rule.floor(test.check)
    status = DriftStatus.STABLE
    lasting = test.effect_before is not None and paired <= level and min(test.now.effect, test.effect_before) >= floor
    if lasting or (single <= level * level and test.now.effect >= floor):
        status = DriftStatus.DRIFTED
    elif single <= level and test.now.effect >= floor:
        status = DriftStatus.SUSPECTED
    return DriftTest(
        check=test.check,
        status=status,
        effect=test.now.effect,
        p_value=test.now.p_value,
        adjusted_p_value=single,
        persistent_p_value=test.pair,
        adjusted_persistent_p_value=None if test.pair is None else paired,
    )


def _weights(features: Sequence[ColumnProfile], importances: Mapping[str, float]) -> list[float]:
    """Shares of all importance; equal where none is known."""
    values = [importances.get(feature.name, 0.0) for feature in features]
    values = [value if math.isfinite(value) and value > 0 else 0.0 for value in values]
    total = sum(values)
    return [value / total if total else 1 / len(values) for value in values]


def _gravest_status(columns: Sequence[ColumnDrift]) -> DriftStatus:
    return max((column.status for column in columns), key=GRAVITY.index, default=DriftStatus.UNKNOWN)


def _alarming_effect(column: ColumnDrift) -> float:
    return column.effect if column.status in (DriftStatus.SUSPECTED, DriftStatus.DRIFTED) else 0.0
