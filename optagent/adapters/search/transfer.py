"""Warm start: tries parameters that were good in earlier studies of the same model, for as long as they prove good."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage

from optagent.codec import decode
from optagent.domain.space import Categorical, Int, Parameter, SearchSpace
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import InvalidRequest

_STUDIES = 5
_BEST = 3
_TRIED_BEFORE_JUDGED = 3
_NEIGHBOUR = 0.1


class Transfer:
    """Suggests known parameters in turn with the sampler's own, until they turn out to be no help.

    After three of them have ended, more are suggested only while one of them is the best trial of the study so far.
    """

    def __init__(self, known: Sequence[Mapping[str, Any]], after: int, maximize: bool) -> None:
        self._known = list(known)
        self._after = after
        self._sign = 1.0 if maximize else -1.0
        self._suggested: set[int] = set()
        self._best_known = self._best_other = float("-inf")
        self._judged = 0

    def next(self, number: int) -> dict[str, Any] | None:
        """Known parameters for that trial, or None where the sampler shall choose."""
        if not self._known or number < self._after or (number - self._after) % 2 or not self._helps():
            return None
        self._suggested.add(number)
        return dict(self._known.pop(0))

    def record(self, trial: Trial) -> None:
        """Takes in the result of any trial of the study."""
        is_suggested = trial.number in self._suggested
        self._judged += is_suggested
        if trial.state is not TrialState.COMPLETE or trial.score is None:
            return
        if is_suggested:
            self._best_known = max(self._best_known, self._sign * trial.score)
        else:
            self._best_other = max(self._best_other, self._sign * trial.score)

    def _helps(self) -> bool:
        return self._judged < _TRIED_BEFORE_JUDGED or self._best_known >= self._best_other


def find_good_parameters(study: Study, storage: BaseStorage) -> list[tuple[str, dict[str, Any]]]:
    """The best parameters of the model's newest earlier studies with the same metric, each followed by a neighbour."""
    earlier = [past for past in storage.get_all_studies() if _is_comparable(past.user_attrs, past.study_name, study)]
    sign = 1.0 if study.maximize else -1.0
    candidates: list[tuple[str, dict[str, Any]]] = []
    draw = random.Random(study.seed)
    for past in sorted(earlier, key=lambda past: past._study_id, reverse=True)[:_STUDIES]:
        trials = [
            _complete_trial(frozen.user_attrs) for frozen in storage.get_all_trials(past._study_id, deepcopy=False)
        ]
        good = [trial for trial in trials if trial is not None and trial.score is not None]
        good.sort(key=lambda trial: -sign * (trial.score or 0.0))
        for trial in good[:_BEST]:
            if trial.family in study.spaces:
                params = dict(trial.params)
                candidates += [
                    (trial.family, params),
                    (trial.family, _neighbour(params, study.spaces[trial.family], draw)),
                ]
    return [candidate for index, candidate in enumerate(candidates) if candidate not in candidates[:index]]


def _is_comparable(attributes: Mapping[str, Any], name: str, study: Study) -> bool:
    identity = attributes.get("identity", {})
    same_metric = identity.get("objectives", [None])[0] == [study.metric, study.maximize]
    return name != study.study_id and identity.get("model") == study.model_id and same_metric


def _complete_trial(attributes: Mapping[str, Any]) -> Trial | None:
    try:
        trial = decode(Trial, attributes["trial"])
    except (KeyError, InvalidRequest):
        return None
    return trial if trial.state is TrialState.COMPLETE else None


def _neighbour(params: Mapping[str, Any], space: SearchSpace, draw: random.Random) -> dict[str, Any]:
    return {item.name: _perturb(item, params[item.name], draw) for item in space if item.name in params}


def _perturb(item: Parameter, value: Any, draw: random.Random) -> Any:
    """A value at most a tenth of the range away, on the parameter's own scale."""
    if isinstance(item, Categorical) or not isinstance(value, int | float):
        return value
    step = draw.uniform(-_NEIGHBOUR, _NEIGHBOUR)
    value = value * (item.high / item.low) ** step if item.log else value + step * (item.high - item.low)
    value = min(max(value, item.low), item.high)
    return round(value) if isinstance(item, Int) else value
