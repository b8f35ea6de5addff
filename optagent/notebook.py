"""Notebook views: results as HTML and as frames, and the progress of a long call in a cell.

A result shows in a notebook what the command line prints of it. `Viewable`, the base of results, asks for both.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from optagent import terminal, terminal_fleet, terminal_mixture, terminal_progress, terminal_report
from optagent.domain.backtest import BacktestResult
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.feature_result import FeatureResult
from optagent.domain.fleet import Fleet
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.model_report import ModelReport
from optagent.domain.optimization import OptimizationResult
from optagent.domain.process import StageProgress
from optagent.domain.study import Interval, Progress, TuningResult
from optagent.domain.study_report import StudyReport
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    import pandas as pd

Records = list[dict[str, Any]]

_WIDTH = 110
_EVERY_S = 0.2
_SCALARS = (str, int, float, bool, type(None))

_PRINTERS: Mapping[type, Callable[[Any, Any], None]] = {
    TuningResult: terminal.show_result,
    EnsembleResult: terminal.show_ensemble,
    FeatureResult: terminal.show_features,
    OptimizationResult: terminal.show_optimization,
    StudyReport: terminal.show_study,
    ModelReport: terminal_report.show_report,
    Fleet: terminal_fleet.show_fleet,
    MixtureStatus: terminal_mixture.show_mixture,
}


def html_of(result: Any) -> str:
    """The HTML of a result: as the command line prints it, or else its frame; the message of a refusal."""
    from rich.console import Console

    error = getattr(result, "error", None)
    printer = _PRINTERS.get(type(result))
    if printer is None and error is None:
        return str(frame_of(result).to_html(index=False))
    console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False, color_system="truecolor")
    if error is not None:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
    elif printer is not None:
        printer(console, result)
    return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.3">{code}</pre>')


def frame_of(result: Any) -> "pd.DataFrame":
    """The table of a result, a row an item; InvalidRequest for a result that was refused, or has no table."""
    import pandas as pd

    error = getattr(result, "error", None)
    if error is not None:
        raise InvalidRequest(f"a refused request has no table: {error}")
    reader = _RECORDS.get(type(result))
    if reader is None:
        raise InvalidRequest(
            f"{type(result).__name__} has no table; one of {sorted(each.__name__ for each in _RECORDS)}"
        )
    return pd.DataFrame.from_records(reader(result))


def _score_records(result: TuningResult) -> Records:
    """The Pareto front where there is one; otherwise the scores on the holdout, which no trial saw."""
    if result.front:
        return [_flat(item) for item in result.front]
    intervals = {
        "tuned": result.holdout,
        result.baseline_name or "baseline": result.baseline_holdout,
        "improvement": result.improvement,
    }
    return [{"score": name, **_flat(interval)} for name, interval in intervals.items() if interval is not None]


def _weight_records(result: EnsembleResult) -> Records:
    return [{"model": name, "weight": weight} for name, weight in (result.weights or {}).items()]


def _drift_records(result: ModelReport) -> Records:
    return _flat_all(result.drift.features if result.drift is not None else ())


def _policy_records(result: BacktestResult) -> Records:
    """The policies in the order of their standings, each with what its run came to."""
    return [{**_flat(standing), **_flat(result.run(standing.name))} for standing in result.standings]


_RECORDS: Mapping[type, Callable[[Any], Records]] = {
    TuningResult: _score_records,
    EnsembleResult: _weight_records,
    FeatureResult: lambda result: _flat_all(result.features),
    OptimizationResult: lambda result: _flat_all(result.gates),
    StudyReport: lambda result: _flat_all(result.trials),
    ModelReport: _drift_records,
    BacktestResult: _policy_records,
    MixtureStatus: lambda result: _flat_all(result.slots),
}


def _flat_all(items: Sequence[Any]) -> Records:
    return [_flat(item) for item in items]


def _flat(item: Any) -> dict[str, Any]:
    """The numbers and texts of an item; those of a mapping or an interval within it by `outer.inner`."""
    pairs = _pairs(item)
    record: dict[str, Any] = {}
    for name, value in pairs:
        if isinstance(value, Enum):
            record[name] = value.value
        elif isinstance(value, _SCALARS):
            record[name] = value
        elif isinstance(value, Interval | Mapping):
            inner = _pairs(value)
            record |= {f"{name}.{key}": each for key, each in inner if isinstance(each, _SCALARS)}
    return record


def _pairs(item: Any) -> list[tuple[Any, Any]]:
    if is_dataclass(item):
        return [(field.name, getattr(item, field.name)) for field in fields(item)]
    return list(item.items())


class ProgressView:
    """Progress of a long call, for `on_progress`: a bar in a notebook's cell, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._handle = _new_cell()
        self._line = None if self._handle is not None else terminal_progress.ProgressDisplay(_terminal(), None)
        self._shown_at = 0.0

    def __call__(self, progress: Progress | StageProgress) -> None:
        if self._line is not None:
            return self._line(progress)
        done, total = terminal_progress.counted_parts(progress) or (0, 0)  # a new stage is shown at once, as the last
        if done >= total or time.monotonic() - self._shown_at >= _EVERY_S:
            self._shown_at = time.monotonic()
            self._handle.update(_Html(_progress_html(progress)))


class _Html:
    """A piece of HTML as notebooks take it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def _progress_html(progress: Progress | StageProgress) -> str:
    parts = terminal_progress.counted_parts(progress)
    bar = "" if parts is None else f'<progress max="{parts[1]}" value="{parts[0]}"></progress> '
    return f"{bar}{terminal_progress.progress_line(progress)}"


def _new_cell() -> Any:
    """The handle of an output of the running cell; None outside of a notebook."""
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return display(_Html("starting …"), display_id=True)  # type: ignore[no-untyped-call]


def _terminal() -> Any:
    from rich.console import Console

    return Console(stderr=True)
