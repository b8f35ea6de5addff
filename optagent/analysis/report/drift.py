"""Drift in words: of the data, of the predictions, of all columns together and of the concept."""

from collections.abc import Sequence

from optagent.analysis.report.parts import Columns, Drawing, Part, Room, Section, TableColumn, table
from optagent.analysis.report.texts import UNKNOWN, bounded, number, p_value, share, some_of, time
from optagent.domain.concept_drift import AdwinVerdict, ConceptDrift
from optagent.domain.drift import ColumnDrift, DriftCheck, DriftReport, DriftStatus, DriftTest
from optagent.domain.model_report import ModelReport

_IN_SHORT = {DriftCheck.MISSING: "missing", DriftCheck.UNSEEN: "unseen"}
_CATEGORY_SHOWN = 20


def concept_drift(report: ModelReport, room: Room) -> Section | None:
    found = report.concept_drift
    if found is None:
        return None
    state = room.loud(found.state) if found.detected else str(found.state)
    return Section("Concept drift", state, found.reason, _evidence(found))


def data_drift(report: ModelReport, room: Room) -> Section | None:
    drift = report.drift
    if drift is None:
        return None
    counts = f"{len(drift.drifted)} drifted, {len(drift.suspected)} suspected of {len(drift.features)} features"
    rows = f"{drift.rows_now:,} rows against {drift.rows_then:,}, false alarms {drift.level:.2g} a window"
    ranked = ranked_features(drift)
    parts: tuple[Part, ...] = (rows,)
    if ranked:
        hidden = _said_of(ranked[room.value :])
        parts = (rows, Drawing.DRIFT, *table(ranked, _columns("column", room), room, _drifted, hidden))
    return Section("Data drift", f"{drift.status}, score {number(drift.score)}; {counts}", parts=parts)


def prediction_drift(report: ModelReport, room: Room) -> Section | None:
    drift = report.drift
    if drift is None or not drift.predictions:
        return None
    headline = f"{drift.prediction_status}, effect {number(drift.prediction_score)}"
    columns = tuple(column for column in _columns("output", room) if column.heading != "weight")  # outputs have none
    return Section("Prediction drift", headline, parts=table(drift.predictions, columns, room, _drifted))


def separability(report: ModelReport, room: Room) -> Section | None:
    found = report.separability
    if found is None:
        return None
    auc = "" if found.auc is None else f", AUC {bounded(found.auc)}; .5 means alike"
    headline = f"reference and current rows are {found.verdict}{auc}"
    parts: tuple[Part, ...] = ()
    if found.importances and room is Room.NARROW:
        parts = (f"told apart by {some_of(list(found.importances))}",)
    elif found.importances:
        columns: Columns[tuple[str, float]] = (
            TableColumn("told apart by", lambda one: one[0]),
            TableColumn("fall of the AUC without it", lambda one: number(one[1])),
        )
        parts = table(list(found.importances.items()), columns, room)
    return Section("All columns together", headline, found.reason, parts)


def ranked_features(drift: DriftReport) -> list[ColumnDrift]:
    """Those first that drifted most and that the model looks at most."""
    return sorted(drift.features, key=lambda one: (-one.weight * one.effect, -one.effect, one.name))


def _said_of(hidden: Sequence[ColumnDrift]) -> str:
    names = [one.name for one in hidden if one.status in (DriftStatus.DRIFTED, DriftStatus.SUSPECTED)]
    return f", of which drifted or suspected: {some_of(names)}" if names else ", none of them drifted or suspected"


def _evidence(found: ConceptDrift) -> tuple[str, ...]:
    said = []
    if found.alarmed_at is not None:
        since = "" if found.changed_at is None else f", the loss has grown since about {time(found.changed_at)}"
        said.append(f"alarmed at {time(found.alarmed_at)}{since}")
    if found.e_value is not None:
        needed = "" if found.threshold is None else f", an alarm needs {number(found.threshold)}"
        every = "" if found.arl_rows is None else f" (a false one every {found.arl_rows:,.0f} labelled rows)"
        said.append(f"e-value {number(found.e_value)}{needed}{every}")
    if found.excess is not None:
        plus = "+" if found.excess.estimate > 0 else ""
        was = "" if found.reference_loss is None else f", {number(found.reference_loss)} in the reference"
        said.append(f"{found.loss}: {plus}{bounded(found.excess)} a row, {found.direction}{was}")
    if found.adwin is not None:
        said.append(f"ADWIN: {_adwin(found.adwin)}")
    if found.rows:
        said.append(f"{found.rows:,} labelled rows, {found.reference_rows:,} in the reference")
    return tuple(said)


def _adwin(verdict: AdwinVerdict) -> str:
    if not verdict.detected:
        return "no change"
    return f"{verdict.direction}{'' if verdict.at is None else f' at {time(verdict.at)}'}"


def _columns(name: str, room: Room) -> Columns[ColumnDrift]:
    return (
        TableColumn(name, lambda one: one.name),
        TableColumn("weight", lambda one: f"{one.weight:.0%}", Room.NARROW),
        TableColumn("weight", lambda one: share(one.weight), Room.WIDE),
        TableColumn("status", lambda one: _status(one, room)),
        TableColumn("effect", lambda one: f"{one.effect:.3f}"),
        TableColumn("of its", _gravest_check, Room.WIDE),
        TableColumn("adj. p", _least_p_value),
        TableColumn("PSI", lambda one: number(one.psi)),
        TableColumn("Wasserstein", lambda one: number(one.wasserstein), Room.WIDE),
        TableColumn("missing", lambda one: f"{100 * one.then.missing:.3g}→{100 * one.now.missing:.3g}%"),
        TableColumn("mean / category", lambda one: _moved(one, room)),
    )


def _drifted(one: ColumnDrift) -> bool:
    return one.status is DriftStatus.DRIFTED


def _status(one: ColumnDrift, room: Room) -> str:
    status = room.loud(one.status) if _drifted(one) else str(one.status)
    test = _gravest(one)
    if room is Room.WIDE or test is None or test.check not in _IN_SHORT:
        return status
    return f"{status} ({_IN_SHORT[test.check]})"


def _gravest(one: ColumnDrift) -> DriftTest | None:
    """The test whose status and effect are the column's."""
    return next((test for test in one.tests if test.status is one.status and test.effect == one.effect), None)


def _gravest_check(one: ColumnDrift) -> str:
    test = _gravest(one)
    return UNKNOWN if test is None else str(test.check)


def _least_p_value(one: ColumnDrift) -> str:
    """What the level was held against: that of two windows for what has drifted."""
    test = _gravest(one)
    if test is None:
        return UNKNOWN
    both = test.adjusted_persistent_p_value
    return p_value(both if _drifted(one) and both is not None else test.adjusted_p_value)


def _moved(one: ColumnDrift, room: Room) -> str:
    """The mean then and now, or the share of the category that moved most."""
    if one.then.mean is not None or one.now.mean is not None:
        return f"{number(one.then.mean)} → {number(one.now.mean)}"
    shares = {name: (then, one.now.shares[name]) for name, then in one.then.shares.items() if name in one.now.shares}
    if not shares:
        return UNKNOWN
    name, (then, now) = max(shares.items(), key=lambda item: abs(item[1][1] - item[1][0]))
    if room is Room.NARROW and len(name) > _CATEGORY_SHOWN:
        name = f"{name[: _CATEGORY_SHOWN - 1]}…"
    return f"{name}: {then:.0%} → {now:.0%}"
