"""Mixture forms: the link, the loss and the step of a mixer, for binary and multiclass models and for regressions.

Losses are in nats. Scores of a row are one probability, one probability a class, or one value, which counts between
the bounds of the form, scaled to 0..1. Such losses are exp-concave (Cesa-Bianchi and Lugosi 2006, section 3.3): log
loss with constant 1, squared loss of numbers in 0..1 with constant 1/2, which is what `likelihood` takes it by.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optagent.domain.model import Task

Array = npt.NDArray[np.float64]

LOW = 0.005
"""Probabilities of a binary model count between this and one minus it, so that no row costs more than 5.3 nats."""

RATES = (0.0005, 0.002, 0.008, 0.03)
"""Learning rates of the mixers of log-odds and log-probabilities."""

# Constants as arrays, which numpy takes sooner than numbers of Python.
_ZERO, _ONE, _LOWEST, _HIGHEST = map(np.array, (0.0, 1.0, LOW, 1 - LOW))
_SMOOTHING = 0.01
_HALF = 0.5


class Form(Protocol):
    """One kind of model. `said` are (rows, members, outputs), scaled and within bounds as `bound` has them."""

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates of the mixers."""
        ...

    @property
    def most_excess(self) -> float:
        """The nats by which the loss of an answer to a row can be above another's at most."""
        ...

    def bound(self, scores: Array) -> Array:
        """Scores (rows, members, outputs), as a model gives them, within the bounds of the loss; NaN stays."""
        ...

    def unscale(self, said: Array) -> Array:
        """Bounded scores as a model gives them."""
        ...

    def mix(self, mixers: Array, said: Array) -> Array:
        """The answers (rows, rates, outputs) of mixers (rates, slots + biases) to what the slots said."""
        ...

    def likelihood(self, said: Array, y: Array) -> Array:
        """(rows, members): exp of minus the loss in nats, for outcomes (rows,) that are class indexes or values."""
        ...

    def worst_excess(self, answer: Array, other: Array) -> Array:
        """(rows,): the loss of an answer (rows, outputs) beyond another's, for the worst outcome there could be."""
        ...

    def stepper(self, said: Array, y: Array) -> Callable[[int, Array], None]:
        """The step of all mixers by the row of that number, in place."""
        ...


@dataclass(frozen=True, slots=True)
class BinaryForm:
    """Log loss of a probability; mixers are linear in log-odds (Mattern 2012)."""

    rates: tuple[float, ...] = RATES

    @property
    def most_excess(self) -> float:
        return math.log((1 - LOW) / LOW)

    def bound(self, scores: Array) -> Array:
        return _clip(scores, _LOWEST, _HIGHEST)

    def unscale(self, said: Array) -> Array:
        return said

    def mix(self, mixers: Array, said: Array) -> Array:
        return self.bound(_sigmoid(np.dot(_with_bias(_logit(said[:, :, 0])), mixers.T)))[:, :, None]

    def likelihood(self, said: Array, y: Array) -> Array:
        positive = said[:, :, 0]
        return np.where(y[:, None] == 1, positive, 1.0 - positive)

    def worst_excess(self, answer: Array, other: Array) -> Array:
        return np.maximum(np.log(other / answer), np.log((1 - other) / (1 - answer)))[:, 0]

    def stepper(self, said: Array, y: Array) -> Callable[[int, Array], None]:
        inputs = _with_bias(_logit(said[:, :, 0]))
        return _linear_stepper(inputs, y, np.array(self.rates), _sigmoid)


@dataclass(frozen=True, slots=True)
class RegressionForm:
    """Squared loss of a value between `low` and `high`; mixers are linear in the values."""

    low: float
    high: float
    rates: tuple[float, ...] = (0.004, 0.016, 0.064, 0.25)

    @property
    def most_excess(self) -> float:
        return 0.5

    def bound(self, scores: Array) -> Array:
        return _clip((scores - self.low) / (self.high - self.low), _ZERO, _ONE)

    def unscale(self, said: Array) -> Array:
        return said * (self.high - self.low) + self.low

    def mix(self, mixers: Array, said: Array) -> Array:
        return _clip(np.dot(_with_bias(said[:, :, 0] - _HALF), mixers.T) + _HALF, _ZERO, _ONE)[:, :, None]

    def likelihood(self, said: Array, y: Array) -> Array:
        error = said[:, :, 0] - self.bound(y)[:, None]
        return np.exp(-0.5 * error * error)

    def worst_excess(self, answer: Array, other: Array) -> Array:
        at_zero = 0.5 * (answer * answer - other * other)
        return np.maximum(at_zero, at_zero + other - answer)[:, 0]

    def stepper(self, said: Array, y: Array) -> Callable[[int, Array], None]:
        inputs = _with_bias(said[:, :, 0] - _HALF)
        return _linear_stepper(inputs, self.bound(y), np.array(self.rates), _within_range)


@dataclass(frozen=True, slots=True)
class MulticlassForm:
    """Log loss of probabilities by class; mixers weigh log-probabilities, with a bias for each class."""

    outputs: int
    rates: tuple[float, ...] = RATES

    @property
    def most_excess(self) -> float:
        least = _SMOOTHING / self.outputs
        return math.log((1 - _SMOOTHING + least) / least)

    def bound(self, scores: Array) -> Array:
        total = scores.sum(axis=-1, keepdims=True)
        return (1 - _SMOOTHING) * scores / total + _SMOOTHING / self.outputs

    def unscale(self, said: Array) -> Array:
        return said

    def mix(self, mixers: Array, said: Array) -> Array:
        slots = said.shape[1]
        logits = np.einsum("rs,nsc->nrc", mixers[:, :slots], np.log(said)) + mixers[None, :, slots:]
        return self.bound(_softmax(logits))

    def likelihood(self, said: Array, y: Array) -> Array:
        chosen: Array = said[np.arange(len(y)), :, y.astype(np.int64)]
        return chosen

    def worst_excess(self, answer: Array, other: Array) -> Array:
        worst: Array = np.log(other / answer).max(axis=1)
        return worst

    def stepper(self, said: Array, y: Array) -> Callable[[int, Array], None]:
        inputs, classes, slots = np.log(said), y.astype(np.int64), said.shape[1]
        rates = np.array(self.rates)[:, None]
        scale = 1.0 / np.sqrt(1.0 + (inputs * inputs).mean(axis=(1, 2)))

        def step(row: int, mixers: Array) -> None:
            z = inputs[row]
            error = -_softmax(mixers[:, :slots] @ z + mixers[:, slots:])
            error[:, classes[row]] += 1.0
            error *= rates
            mixers[:, :slots] += (error @ z.T) * scale[row]
            mixers[:, slots:] += _HALF * error

        return step


def form_of(task: Task, outputs: int = 1, low: float = 0.0, high: float = 1.0) -> Form:
    """The form of a model; `low` and `high` are the bounds of a regression's values."""
    if task is Task.BINARY:
        return BinaryForm()
    return MulticlassForm(outputs) if task is Task.MULTICLASS else RegressionForm(low, high)


def _linear_stepper(
    inputs: Array, y: Array, rates: Array, link: Callable[[Array], Array]
) -> Callable[[int, Array], None]:
    """Steps along the gradient, shorter for large inputs; the bias moves by half the rate."""
    scale = 1.0 / np.sqrt(1.0 + (inputs[:, :-1] ** 2).mean(axis=1))
    directions = inputs * scale[:, None]
    directions[:, -1] = _HALF
    outcomes = y.tolist()

    def step(row: int, mixers: Array) -> None:
        error = outcomes[row] - link(mixers @ inputs[row])
        error *= rates
        mixers += error[:, None] * directions[row]

    return step


def _with_bias(values: Array) -> Array:
    rows, columns = values.shape
    inputs: Array = np.empty((rows, columns + 1))
    inputs[:, :columns] = values
    inputs[:, columns] = 1.0
    return inputs


def _logit(probability: Array) -> Array:
    logit: Array = np.subtract(_ONE, probability)
    np.divide(probability, logit, out=logit)
    return np.log(logit, out=logit)


def _sigmoid(z: Array) -> Array:
    share: Array = np.negative(z)
    np.exp(share, out=share)
    np.add(_ONE, share, out=share)
    return np.divide(_ONE, share, out=share)


def _within_range(z: Array) -> Array:
    return _clip(z + _HALF, _ZERO, _ONE)


def _clip(values: Array, low: Array, high: Array) -> Array:
    """As np.clip, which takes four times as long for a few values."""
    clipped: Array = np.minimum(np.maximum(values, low), high)
    return clipped


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return share
