"""Label bodies: labels read from requests, with few columns and plain values, before arrays are made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from optagent.errors import InvalidData, TooLarge
from serve_app.data_plane.arrow_bodies import read_table
from serve_app.data_plane.body_limits import (
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_LABEL_CELLS,
    MOST_LABEL_COLUMNS,
    MOST_LABELS,
    MOST_OUTCOMES,
)
from serve_app.data_plane.json_bodies import read_label_objects


def read_labels(body: bytes, arrow: bool) -> Any:
    """The labels in a body, in a form that `checked_labels` takes."""
    if arrow:
        return read_table(body, MOST_LABELS, MOST_LABEL_COLUMNS)
    labels = read_label_objects(body, MOST_LABELS)
    _check_names(labels)
    for row, label in enumerate(labels):
        for name, value in label.items():
            if type(value) is dict or type(value) is list:
                raise InvalidData(
                    f"labels[{row}]: {name!r} is a list or an object; a number, text or boolean is needed"
                )
            if type(value) is str and len(value) > LONGEST_TEXT:
                raise InvalidData(f"labels[{row}]: {name!r} has {len(value):,} characters, at most {LONGEST_TEXT:,}")
    return labels


def _check_names(labels: Sequence[Mapping[str, Any]]) -> None:
    """Refuses more columns than the archive takes: each row may have others, and each is a column for all rows."""
    names: set[str] = set()
    for row, label in enumerate(labels):
        if names.issuperset(label):
            continue
        names.update(label)
        if len(names) > MOST_LABEL_COLUMNS:
            raise TooLarge(f"labels[{row}]: more than {MOST_OUTCOMES} outcomes besides id, time and label in one call")
        if any(len(name) > LONGEST_NAME for name in label):
            raise InvalidData(f"labels[{row}]: a name has at most {LONGEST_NAME} characters")
    if len(labels) * len(names) > MOST_LABEL_CELLS:
        raise TooLarge(
            f"labels: {len(labels):,} of {len(names)} columns in one call, the limit is {MOST_LABEL_CELLS:,} cells"
        )
