"""Label maturity: the ages at which the labels of a model come, and the share of a window's labels that have come."""

from collections.abc import Mapping
from dataclasses import dataclass

ALL = "all labels"


@dataclass(frozen=True, slots=True)
class LabelCohort:
    """The labels of the requests of one stretch of time, counted by the age at which each came first.

    `start` is in POSIX seconds, `rows` counts the requests. `reach` is the number of bins of age that all requests had
    lived through when they were counted; later labels are left out. `counts` holds for each outcome its labels by bin.
    `backdated` labels have a time before the last count but came after it.
    """

    start: float
    rows: int
    reach: int
    counts: tuple[Mapping[int, int], ...]
    backdated: int = 0

    @property
    def labels(self) -> int:
        return sum(sum(by_bin.values()) for by_bin in self.counts)


@dataclass(frozen=True, slots=True)
class LabelHistory:
    """The newest cohorts of a model, the oldest first, each `length_s` seconds long.

    `outcomes` are the classes, or the quarters of a regression's target, which `edges` divide.
    """

    length_s: float = 0.0
    outcomes: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    cohorts: tuple[LabelCohort, ...] = ()


@dataclass(frozen=True, slots=True)
class OutcomeMaturity:
    """The ages in seconds by which a half, nine tenths and .99 of the labels of an outcome have come, of those that
    ever come; None without a curve of its own, for too few labels."""

    outcome: str
    labels: int
    q50_s: float | None = None
    q90_s: float | None = None
    q99_s: float | None = None


@dataclass(frozen=True, slots=True)
class LabelSlowing:
    """The test of the newest requests' labels against those of earlier requests at the same age.

    `share` of the requests of `rows` rows since `since` (POSIX seconds) had a label by `age_s`, usually `usual_share`.
    The one-sided `p_value` is the least of `tests`, each at `level` / `tests`.
    """

    is_detected: bool
    age_s: float
    share: float
    usual_share: float
    since: float
    rows: int
    p_value: float
    level: float
    tests: int


@dataclass(frozen=True, slots=True)
class LabelMaturity:
    """The maturing of a model's labels: the share that has come by each age, of those that ever come.

    `ever` is the share of the requests that ever get a label. `points` are (age in seconds, share) over all outcomes.
    `label_delay_s` is the user's bound, None without one, `suggested_label_delay_s` the age by which .99 of the labels
    of the slowest outcome have come. `reason` says why there is no curve, or no suggestion.
    """

    requests: int = 0
    cohorts: int = 0
    ever: float | None = None
    outcomes: tuple[OutcomeMaturity, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    label_delay_s: float | None = None
    suggested_label_delay_s: float | None = None
    slowing: LabelSlowing | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class WindowMaturity:
    """The share of a window's labels that has come, of those that ever come; None where it is not known.

    A window is `provisional` until .99 have come. Its metrics are `corrected` for labels that have not come yet, by
    weights that leave `effective_rows`; `note` says how, or why not. `matures_at` is a POSIX time.
    """

    provisional: bool
    share: float | None = None
    corrected: bool = False
    effective_rows: float | None = None
    matures_at: float | None = None
    note: str = ""
