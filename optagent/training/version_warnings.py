"""Version warnings: sentences about a version in use whose estimate is worse than what it was compared with."""

from optagent.domain.model import CHALLENGER, CHAMPION, ModelVersion
from optagent.training.metrics import METRICS

BASELINE_TAG = "baseline"
"""The tag of a version that names the model with which it was compared on the holdout."""

_HOLDOUT, _BASELINE, CONSTANT = "holdout_", "baseline_", "constant_"


def version_warnings(version: ModelVersion) -> tuple[str, ...]:
    """Warnings about a champion or challenger, none about another version, and none where metrics do not tell.

    >>> scores = {"holdout_auc": 0.71, "baseline_auc": 0.73, "constant_auc": 0.5}
    >>> version_warnings(ModelVersion("churn", "1", "", 0.0, ("champion",), scores, {"baseline": "defaults"}))
    ('its auc on the holdout, 0.71, is worse than the 0.73 of the defaults; search longer (optagent tune --trials)',)
    """
    if not {CHAMPION, CHALLENGER} & set(version.aliases):
        return ()
    names = [name.removeprefix(_HOLDOUT) for name in version.metrics if name.startswith(_HOLDOUT)]
    metric = METRICS.get(names[0]) if len(names) == 1 else None
    if metric is None:
        return ()
    score, sign = version.metrics[f"{_HOLDOUT}{metric.name}"], 1 if metric.maximize else -1
    rivals = {
        f"{_BASELINE}{metric.name}": (
            f"the {version.tags.get(BASELINE_TAG, 'model that it was compared with')}",
            "search longer (optagent tune --trials)",
        ),
        f"{CONSTANT}{metric.name}": (
            "one answer for every row",
            "look at the target and the features (optagent init names leaks), then tune again",
        ),
    }
    subject = f"its {metric.name} on the holdout, {score:.5g}, is worse than"
    return tuple(
        f"{subject} the {version.metrics[name]:.5g} of {rival}; {act}"
        for name, (rival, act) in rivals.items()
        if name in version.metrics and sign * (version.metrics[name] - score) > 0
    )
