"""The families by name. A family loads its library when it is first used, so naming one costs nothing."""

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.training.families.family import Family
from optagent.training.families.lightgbm_family import LightGBM
from optagent.training.families.sklearn_boosting import HistGradientBoosting
from optagent.training.families.sklearn_forests import ExtraTrees, RandomForest
from optagent.training.families.sklearn_linear import Linear
from optagent.training.families.xgboost_family import XGBoost

_ALL: tuple[Family, ...] = (LightGBM(), XGBoost(), RandomForest(), ExtraTrees(), HistGradientBoosting(), Linear())

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}


def family_named(name: str) -> Family:
    """The family of that name; InvalidRequest lists the known ones."""
    if name not in FAMILIES:
        raise InvalidRequest(f"unknown family {name!r}; one of {sorted(FAMILIES)}")
    return FAMILIES[name]


def families_for(task: Task) -> tuple[Family, ...]:
    """The families that can learn `task`."""
    return tuple(family for family in FAMILIES.values() if family.supports(task))
