"""Board of a demo: all that its live page shows, written by the demo and rendered by the threads of the page."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optagent.arrays import Vector
from optagent.demo.live import Answered, log_loss
from optagent.demo.svg import HEIGHT, WIDTH, Chart, line_chart, stacked_chart
from optagent.demo.timeline import Timeline
from optagent.domain.mixture_status import MixtureStatus
from optagent.templating import load_templates

WITHOUT, WITH = "without the agent", "with the agent"
ROWS_OF_A_POINT = 250  # 50 trading days
_MOMENTS = 30


@dataclass
class Board:
    """The state so far: the answers, the first champion's answers to the same rows, and the mixture; None before."""

    timeline: Timeline
    dashboard: str = ""
    answered: Answered = field(default_factory=Answered)
    frozen: list[float] = field(default_factory=list)
    mixture: MixtureStatus | None = None

    def render(self, template: str = "board.html") -> str:
        """A page or the moving part of it, with every text escaped."""
        return _TEMPLATES.get_template(template).render(self._figures())

    def _figures(self) -> dict[str, Any]:
        count = min(len(self.answered.row), len(self.frozen))
        truth = np.array(self.answered.truth[:count], dtype=float)
        probabilities = {WITHOUT: self.frozen[:count], WITH: self.answered.live[:count]}
        days = self.answered.day[:count]
        return {
            "seconds": self.timeline.seconds,
            "moments": self.timeline.moments[: -_MOMENTS - 1 : -1],
            "dashboard": self.dashboard,
            "count": count,
            "failed": self.answered.failed,
            "days": (days[0], days[-1]) if days else None,
            "losses": {name: log_loss(truth, values) for name, values in probabilities.items()},
            "loss_chart": line_chart({name: rolling_loss(truth, values) for name, values in probabilities.items()}),
            "weight_chart": None if self.mixture is None else _weight_chart(self.mixture),
            "mixture": self.mixture,
            "rows_of_a_point": ROWS_OF_A_POINT,
            "width": WIDTH,
            "height": HEIGHT,
        }


def rolling_loss(truth: Any, probability: Any) -> Vector:
    """The mean log-loss of the newest rows at each row; NaN before half of them are there."""
    y, p = np.asarray(truth, dtype=float), np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)
    total = np.concatenate([[0.0], np.cumsum(-(y * np.log(p) + (1 - y) * np.log1p(-p)))])
    end = np.arange(1, len(y) + 1)
    start = np.maximum(0, end - ROWS_OF_A_POINT)
    mean = (total[end] - total[start]) / (end - start)
    return np.where(end - start >= ROWS_OF_A_POINT // 2, mean, math.nan)


def _weight_chart(mixture: MixtureStatus) -> Chart | None:
    """The slots' parts of the answers at each point of the mixture's history."""
    names = [slot.name for slot in mixture.slots]
    points = [dict(zip(point.slots, point.weights, strict=True)) for point in mixture.history]
    parts = np.array([[point.get(name, 0.0) for name in names] for point in points], dtype=float)
    return stacked_chart(names, parts)


_TEMPLATES = load_templates(Path(__file__).parent / "page")
