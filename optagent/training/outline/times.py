"""Time candidates: columns that hold the time of a row, and columns of dates that are not written as dates."""

import re

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from optagent.training.columns import Kind, kind_of
from optagent.training.outline.model_outline import Remark
from optagent.training.values import timestamps

_TIME_NAME = re.compile(r"time|date|day|month|week|hour|stamp|created|occurred|event|(^|_)(at|ts|on|dt)$", re.I)
_OTHER_DATE = re.compile(r"birth|dob|expir|due|end|start_of|closed|cancel|churn|updated|modified|resolved|paid", re.I)
_NUMBER_NAME = re.compile(r"(^|_)(time|timestamp|ts|epoch|unix|year)($|_)", re.I)
_FORMATS = {
    "2024-01-31": re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?"),
    "31.01.2024": re.compile(r"\d{1,2}\.\d{1,2}\.\d{2,4}( .*)?"),
    "01/31/2024": re.compile(r"\d{1,2}/\d{1,2}/\d{2,4}( .*)?"),
    "2024/01/31": re.compile(r"\d{4}/\d{1,2}/\d{1,2}( .*)?"),
    "Jan 31, 2024": re.compile(r"[A-Za-z]{3,9}\.? \d{1,2}, ?\d{4}( .*)?"),
    "31 Jan 2024": re.compile(r"\d{1,2}[ -][A-Za-z]{3,9}\.?[ -]\d{2,4}( .*)?"),
}
_MOST_READ = 1000
_DATES = 0.9  # the share of texts from which a column counts as one of dates


def is_time_candidate(name: str, values: pa.ChunkedArray) -> bool:
    """True for dates, texts that are all dates in ISO 8601, and numbers whose name says that they are a time."""
    kind = kind_of(values.type)
    if kind is Kind.DATETIME:
        return pt.is_date(values.type) or pt.is_timestamp(values.type)
    if kind is Kind.NUMERIC:
        return _NUMBER_NAME.search(name) is not None and not pt.is_null(values.type)
    return kind is Kind.CATEGORICAL and _are_iso_dates(values)


def rank_of_time(name: str, values: pa.ChunkedArray) -> int:
    """A number that is lower for a better time column: dates of rows, other dates, then numbers."""
    if kind_of(values.type) is Kind.NUMERIC:
        return 3
    if _OTHER_DATE.search(name):
        return 2
    return 0 if _TIME_NAME.search(name) else 1


def describe_time(values: pa.ChunkedArray) -> str:
    """The first and last time of a column; raises pyarrow.ArrowInvalid for texts that are no dates."""
    if kind_of(values.type) is Kind.CATEGORICAL:
        values = timestamps(pc.cast(values, pa.string()))
    bounds = pc.min_max(values)
    return f"{bounds['min'].as_py()} to {bounds['max'].as_py()}"


def unreadable_dates(name: str, values: pa.ChunkedArray) -> Remark | None:
    """A remark on a column of texts that are dates to people, but not in ISO 8601; None for any other."""
    texts = _some_texts(values)
    if not texts or _are_iso_dates(values):
        return None
    counts = dict.fromkeys(_FORMATS, 0)
    for text in texts:
        shown = next((shown for shown, pattern in _FORMATS.items() if pattern.fullmatch(text.strip())), None)
        if shown is not None:
            counts[shown] += 1
    if sum(counts.values()) < _DATES * len(texts):
        return None
    formats = [shown for shown, count in counts.items() if count]
    written = f"in {len(formats)} forms, such as" if len(formats) > 1 else "as"
    return Remark(
        name,
        f"holds dates written {written} {' and '.join(formats)}: as times they have to be written as 2024-01-31",
    )


def _are_iso_dates(values: pa.ChunkedArray) -> bool:
    texts = _some_texts(values)
    if not texts or not all(_FORMATS["2024-01-31"].fullmatch(text.strip()) for text in texts):
        return False
    try:
        timestamps(pc.cast(values.drop_null(), pa.string()))
    except pa.ArrowInvalid:
        return False
    return True


def _some_texts(values: pa.ChunkedArray) -> list[str]:
    if kind_of(values.type) is not Kind.CATEGORICAL:
        return []
    if pt.is_dictionary(values.type):
        values = pc.cast(values, values.type.value_type)
    return [str(text) for text in values.drop_null().slice(0, _MOST_READ).to_pylist()]
