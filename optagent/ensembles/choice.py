"""Choice of an ensemble: the options tried, the verdict, and the reason in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from optagent.domain.study import Interval
from optagent.ensembles.diversity import Diversity
from optagent.training.combined import Combined


@dataclass(frozen=True, slots=True)
class EnsembleOption:
    """The ensemble of one search, scored on the rows that decide between searches.

    `worth` is the target's, larger is better. `latency_ms` is that of its members together, where known. No other
    option beats one `on_front` in every metric and in latency at once.
    """

    search: str
    models: int
    worth: float
    scores: Mapping[str, float]
    diversity: float
    latency_ms: float | None = None
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class EnsembleChoice:
    """The verdict: with `accepted`, serve `ensemble`; otherwise keep `single`, the best model alone, for the `reason`.

    `improvements` are those of the ensemble over the single model by metric, positive where it is better, on
    `judged_rows` on which neither of them was learned or chosen; `metrics` and `single_metrics` are their scores there.
    """

    accepted: bool
    single: str
    reason: str
    ensemble: Combined | None = None
    search: str | None = None
    learned_rows: int = 0
    judged_rows: int = 0
    improvements: Mapping[str, Interval] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    single_metrics: Mapping[str, float] = field(default_factory=dict)
    diversity: Diversity | None = None
    latency_ms: float | None = None
    options: tuple[EnsembleOption, ...] = ()
    notes: tuple[str, ...] = ()
