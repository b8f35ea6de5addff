"""Pipeline faults: columns, predictions and labels that arrive otherwise than the reference did."""

from optagent.domain.diagnosis import ColumnFacts, DiagnosisFacts

FEWEST_ROWS = 50
FEWEST_LABELS = 50
_NULL_SURGE = 0.1  # of the rows, more than in the reference
_UNSEEN_FAULT = 0.5  # of the rows: so many unseen categories mean another coding, not new categories
_LATE_TIMES, _LATE_S = 3.0, 3600.0
_LABELS_MISSING = 0.1  # of those due
_UNUSABLE = 0.1  # of the predictions, or of the labels
_CHANCE = 1e-6  # that so many rows in a row have no label, where some have


def column_fault(column: ColumnFacts) -> str | None:
    """The sign of a fault of the pipeline in a column, rather than of a change in the world; None without one."""
    if column.null_share_now - column.null_share_then >= _NULL_SURGE:
        then, now = column.null_share_then, column.null_share_now
        return f"{column.name}: {now:.0%} of the values are missing, {then:.0%} before"
    if column.constant_now and not column.constant_then:
        return f"{column.name} has become constant"
    if column.unit_change is not None:
        change = column.unit_change
        shift = f" plus {change.shift:.4g}" if change.name and "degrees" in change.name else ""
        name = f" ({change.name})" if change.name else ""
        return f"{column.name}: values are {change.scale:.4g} times what they were{shift}, in the same shape{name}"
    if column.unseen_share >= _UNSEEN_FAULT:
        return f"{column.name}: {column.unseen_share:.0%} of the rows have a category that the model does not know"
    return None


def payload_faults(evidence: DiagnosisFacts) -> tuple[str, ...]:
    """Faults of the predictions or labels themselves, in words."""
    faults = []
    if evidence.unusable_predictions >= _UNUSABLE:
        faults.append(f"{evidence.unusable_predictions:.0%} of the predictions cannot be used")
    if evidence.unusable_labels >= _UNUSABLE:
        faults.append(f"{evidence.unusable_labels:.0%} of the labels cannot be used")
    if evidence.constant_predictions and evidence.rows >= FEWEST_ROWS:
        faults.append(f"the model gives the same answer to all {evidence.rows:,} rows")
    if evidence.constant_labels and evidence.labelled >= FEWEST_LABELS:
        faults.append(f"all {evidence.labelled:,} labels are the same, which by the reference chance cannot explain")
    return tuple(faults)


def label_fault(evidence: DiagnosisFacts) -> str | None:
    due = evidence.labels_due
    if due is not None and due >= FEWEST_LABELS and evidence.labelled < _LABELS_MISSING * due:
        if not evidence.labelled:
            return f"labels have stopped: none has come for the {due:,} rows that should have one by now"
        return f"labels are missing: {evidence.labelled:,} have come of the {due:,} that should have by now"
    run = evidence.due_since_label
    if due is not None and run >= FEWEST_LABELS and run < due:
        share = evidence.due_labelled / (due - run)
        if (1 - share) ** run < _CHANCE:
            return f"labels have stopped: none has come for the last {run:,} of the {due:,} rows that should have one"
    then, now = evidence.label_delay_then_s, evidence.label_delay_now_s
    if then is not None and now is not None and now > max(_LATE_TIMES * then, then + _LATE_S):
        return f"labels are late: they take {span_text(now)}, and took {span_text(then)} before"
    return None


def span_text(length_s: float) -> str:
    """A length of time in its largest unit.

    >>> span_text(5400), span_text(200_000)
    ('1.5 h', '2.31 d')
    """
    for name, unit in (("d", 86_400), ("h", 3600), ("min", 60)):
        if length_s >= unit:
            return f"{length_s / unit:.3g} {name}"
    return f"{length_s:.3g} s"
