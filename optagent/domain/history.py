"""History declaration: the lags and rolling means of columns over the earlier rows of one customer or machine."""

from dataclasses import dataclass

from optagent.errors import InvalidRequest

MOST_BACK = 1_000
"""Rows that a lag or a window reaches back at most."""
MOST_LISTED = 20
"""Lags, and windows, of a model at most."""


@dataclass(frozen=True, slots=True)
class HistorySpec:
    """The columns that a model gets of each row's past: of the rows of the same key with an earlier time."""

    key: str | None = None
    """The column of the customer or machine whose earlier rows count, texts or whole numbers; it is no feature unless
    `features` names it. Unset: all rows are one series."""
    lags: tuple[int, ...] = ()
    """The values so many rows ago: 1 is that of the row before. Whole numbers from 1 to 1000, at most 20."""
    rolling: tuple[int, ...] = ()
    """The means of the last so many earlier rows, of those that there are where there are fewer. Whole numbers from 1
    to 1000, at most 20."""
    columns: tuple[str, ...] = ()
    """The numeric features whose past is used. Empty: all of them."""

    def __post_init__(self) -> None:
        for name in ("lags", "rolling"):
            numbers = getattr(self, name)
            if len(numbers) > MOST_LISTED:
                raise InvalidRequest(f"history: at most {MOST_LISTED} {name}, got {len(numbers)}")
            for number in numbers:
                if isinstance(number, bool) or not 1 <= number <= MOST_BACK:
                    raise InvalidRequest(f"history: {name} are whole numbers from 1 to {MOST_BACK}, got {number}")
        for name in ("lags", "rolling", "columns"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InvalidRequest(f"history: {name}: one stands twice in {list(values)}")
        if not self.lags and not self.rolling:
            raise InvalidRequest("history: give lags, rolling, or both, such as lags: [1, 7]")
        if self.key == "":
            raise InvalidRequest("history: key needs the name of a column; leave it out for one series of all rows")
        if self.key in self.columns:
            raise InvalidRequest(f"history: the key {self.key!r} names a series, and has no past of its own")
