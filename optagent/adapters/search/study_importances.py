"""Parameter importances: the share of each parameter in how good the trials of a study were."""

import warnings

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import BaseStorage

_TOP_SHARE, _TOP_TRIALS = 0.1, 5


def importances_of(study_id: str, storage: BaseStorage) -> dict[str, float]:
    """Importances by PED-ANOVA for conditional spaces (arXiv:2601.20800), the largest first; they sum to one.

    The method compares the best trials with all complete ones, and is empty where they do not differ. fANOVA looks
    only at parameters that every trial has, and with two families `family` is the only one. The method needs five
    trials among the best, so fewer than 50 trials get a larger share of best ones.
    """
    study = optuna.load_study(study_name=study_id, storage=storage)
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    share = min(0.5, max(_TOP_SHARE, _TOP_TRIALS / len(complete)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with few trials or hardly a difference, importances are empty or vague
        importances = PedAnovaImportanceEvaluator(target_quantile=share).evaluate(study)
    total = sum(importances.values())
    if not total > 0:
        return {}
    return {
        name: importances[name] / total for name in sorted(importances, key=lambda name: (-importances[name], name))
    }
