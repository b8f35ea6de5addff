"""Drift sections of a report: of the data, of the predictions, of all columns together and of the concept."""

from collections.abc import Sequence

from optagent.analysis.report.parts import Columns, Drawing, Part, Room, Section, TableColumn, table
from optagent.analysis.report.texts import (
    UNKNOWN,
    format_interval,
    format_names,
    format_number,
    format_p_value,
    format_share,
    format_time,
)
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift
from optagent.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftStatus, DriftTest
from optagent.domain.model_report import ModelReport

_IN_SHORT = {DriftCheck.MISSING: "missing", DriftCheck.UNSEEN: "unseen"}
_CATEGORY_SHOWN = 20


def concept_drift_section(report: ModelReport, room: Room) -> Section | None:
    drift = report.concept_drift
    if drift is None:
        return None
    state = room.emphasize(drift.state) if drift.is_detected else str(drift.state)
    return Section("Concept drift", state, drift.reason, _evidence_lines(drift))


def data_drift_section(report: ModelReport, room: Room) -> Section | None:
    drift = report.drift
    if drift is None:
        return None
    drifted, suspected = len(drift.drifted_features), len(drift.suspected_features)
    counts = f"{drifted} drifted, {suspected} suspected of {len(drift.features)} features"
    rows = f"{drift.rows_now:,} rows against {drift.rows_then:,}, false alarms {drift.level:.2g} a window"
    if drift.comparison:
        windows = "1 window" if drift.windows == 1 else f"{drift.windows} windows"
        rows += f"; {drift.comparison}, {windows} of evidence"
    ranked = ranked_features(drift)
    parts: tuple[Part, ...] = (rows,)
    if ranked:
        hidden = _hidden_text(ranked[room.value :])
        parts = (rows, Drawing.DRIFT, *table(ranked, _columns("column", room), room, _is_drifted, hidden))
    return Section("Data drift", f"{drift.status}, score {format_number(drift.score)}; {counts}", parts=parts)


def prediction_drift_section(report: ModelReport, room: Room) -> Section | None:
    drift = report.drift
    if drift is None or not drift.predictions:
        return None
    headline = f"{drift.prediction_status}, effect {format_number(drift.prediction_score)}"
    columns = tuple(column for column in _columns("output", room) if column.heading != "weight")  # outputs have none
    return Section("Prediction drift", headline, parts=table(drift.predictions, columns, room, _is_drifted))


def separability_section(report: ModelReport, room: Room) -> Section | None:
    domain = report.separability
    if domain is None:
        return None
    auc = "" if domain.auc is None else f", AUC {format_interval(domain.auc)}; .5 means alike"
    headline = f"reference and current rows are {domain.verdict}{auc}"
    parts: tuple[Part, ...] = ()
    if domain.importances and room is Room.NARROW:
        parts = (f"told apart by {format_names(list(domain.importances))}",)
    elif domain.importances:
        columns: Columns[tuple[str, float]] = (
            TableColumn("told apart by", lambda one: one[0]),
            TableColumn("fall of the AUC without it", lambda one: format_number(one[1])),
        )
        parts = table(list(domain.importances.items()), columns, room)
    return Section("All columns together", headline, domain.reason, parts)


def ranked_features(drift: DriftReport) -> list[ColumnDrift]:
    """The features by drift and weight, those first that drifted most and that the model looks at most."""
    return sorted(drift.features, key=lambda one: (-one.weight * one.effect, -one.effect, one.name))


def _hidden_text(hidden: Sequence[ColumnDrift]) -> str:
    names = [one.name for one in hidden if one.status in (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)]
    return f", of which drifted or suspected: {format_names(names)}" if names else ", none of them drifted or suspected"


def _evidence_lines(drift: ConceptDrift) -> tuple[str, ...]:
    lines = []
    if drift.alarmed_at is not None:
        since = "" if drift.changed_at is None else f", the loss has grown since about {format_time(drift.changed_at)}"
        lines.append(f"alarmed at {format_time(drift.alarmed_at)}{since}")
    if drift.e_value is not None:
        limit = "" if drift.threshold is None else f", an alarm needs {format_number(drift.threshold)}"
        every = "" if drift.arl_rows is None else f" (a false one every {drift.arl_rows:,.0f} labelled rows)"
        lines.append(f"e-value {format_number(drift.e_value)}{limit}{every}")
    if drift.excess is not None:
        plus = "+" if drift.excess.estimate > 0 else ""
        before = "" if drift.reference_loss is None else f", {format_number(drift.reference_loss)} in the reference"
        lines.append(f"{drift.loss}: {plus}{format_interval(drift.excess)} a row, {drift.direction}{before}")
    if drift.adwin is not None:
        lines.append(f"ADWIN: {_adwin_text(drift.adwin)}")
    if drift.rows:
        since = "of this report alone"
        if drift.running:
            since = "so far" if drift.watched_since is None else f"since {format_time(drift.watched_since)}"
        lines.append(f"{drift.rows:,} labelled rows {since}, {drift.reference_rows:,} in the reference")
    if drift.caveat:
        lines.append(f"calibration: {drift.caveat}")
    return tuple(lines)


def _adwin_text(verdict: AdwinVerdict) -> str:
    if not verdict.detected:
        return "no change"
    return f"{verdict.direction}{'' if verdict.at is None else f' at {format_time(verdict.at)}'}"


def _columns(name: str, room: Room) -> Columns[ColumnDrift]:
    return (
        TableColumn(name, lambda one: one.name),
        TableColumn("weight", lambda one: f"{one.weight:.0%}", Room.NARROW),
        TableColumn("weight", lambda one: format_share(one.weight), Room.WIDE),
        TableColumn("status", lambda one: _status_text(one, room)),
        TableColumn("effect", lambda one: f"{one.effect:.3f}"),
        TableColumn("of its", _gravest_check, Room.WIDE),
        TableColumn("adj. p", _p_value_text),
        TableColumn("PSI", lambda one: format_number(one.psi)),
        TableColumn("Wasserstein", lambda one: format_number(one.wasserstein), Room.WIDE),
        TableColumn("missing", lambda one: f"{100 * one.then.missing:.3g}→{100 * one.now.missing:.3g}%"),
        TableColumn("mean / category", lambda one: _move_text(one, room)),
    )


def _is_drifted(one: ColumnDrift) -> bool:
    return one.status is DriftStatus.DRIFTED


def _status_text(one: ColumnDrift, room: Room) -> str:
    status = room.emphasize(one.status) if _is_drifted(one) else str(one.status)
    test = _gravest_test(one)
    if room is Room.WIDE or test is None or test.check not in _IN_SHORT:
        return status
    return f"{status} ({_IN_SHORT[test.check]})"


def _gravest_test(one: ColumnDrift) -> DriftTest | None:
    """The test whose status and effect are the column's."""
    return next((test for test in one.tests if test.status is one.status and test.effect == one.effect), None)


def _gravest_check(one: ColumnDrift) -> str:
    test = _gravest_test(one)
    return UNKNOWN if test is None else str(test.check)


def _p_value_text(one: ColumnDrift) -> str:
    """The p-value that was compared with the level: that over two windows where the column has drifted."""
    test = _gravest_test(one)
    if test is None:
        return UNKNOWN
    both = test.adjusted_persistent_p_value
    return format_p_value(both if _is_drifted(one) and both is not None else test.adjusted_p_value)


def _move_text(one: ColumnDrift, room: Room) -> str:
    """The mean then and now, or the share of the category that moved most."""
    if one.then.mean is not None or one.now.mean is not None:
        return f"{format_number(one.then.mean)} → {format_number(one.now.mean)}"
    shares = {name: (then, one.now.shares[name]) for name, then in one.then.shares.items() if name in one.now.shares}
    if not shares:
        return UNKNOWN
    name, (then, now) = max(shares.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    if room is Room.NARROW and len(name) > _CATEGORY_SHOWN:
        name = f"{name[: _CATEGORY_SHOWN - 1]}…"
    return f"{name}: {then:.0%} → {now:.0%}"
