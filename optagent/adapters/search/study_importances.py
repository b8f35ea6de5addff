"""Which parameters decided how good the trials of a study were."""

import warnings

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import BaseStorage

_TOP_SHARE, _TOP_TRIALS = 0.1, 5


def importances_of(study_id: str, storage: BaseStorage) -> dict[str, float]:
    """By PED-ANOVA for conditional spaces (arXiv:2601.20800): what sets the best trials apart from all complete ones.

    fANOVA looks only at parameters that every trial has, of which there are none but `family` with two families. The
    method wants five trials among the best, so fewer than 50 trials are given a larger share of best ones.
    """
    study = optuna.load_study(study_name=study_id, storage=storage)
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    share = min(0.5, max(_TOP_SHARE, _TOP_TRIALS / len(complete)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials, or as good as no difference: then they come out empty or vague
        found = PedAnovaImportanceEvaluator(target_quantile=share).evaluate(study)
    total = sum(found.values())
    if not total > 0:
        return {}
    return {name: found[name] / total for name in sorted(found, key=lambda name: (-found[name], name))}
