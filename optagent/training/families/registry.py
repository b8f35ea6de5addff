"""Registry of model families by name. A family loads its library when it is first used, so naming one is cheap."""

from collections.abc import Iterable

from optagent.domain.model import Task
from optagent.errors import InvalidRequest
from optagent.extras import EXTRAS, require_library
from optagent.training.families.catboost_family import CatBoost
from optagent.training.families.engineered import Engineered
from optagent.training.families.ensemble import Ensemble
from optagent.training.families.family import Family
from optagent.training.families.lightgbm_family import LightGBM
from optagent.training.families.names import is_ours
from optagent.training.families.sklearn_boosting import HistGradientBoosting
from optagent.training.families.sklearn_forests import ExtraTrees, RandomForest
from optagent.training.families.sklearn_imported import ImportedSklearn
from optagent.training.families.sklearn_linear import Linear
from optagent.training.families.user_family import installed_families, is_path, user_family
from optagent.training.families.xgboost_family import XGBoost

_ALL: tuple[Family, ...] = (
    LightGBM(),
    XGBoost(),
    HistGradientBoosting(),
    Linear(),
    ExtraTrees(),
    RandomForest(),
    CatBoost(),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""The families that are searched, those that are trained fast first."""

OURS: dict[str, Family] = {**FAMILIES, ImportedSklearn.name: ImportedSklearn()}
OURS |= {family.name: family for family in (Ensemble(OURS), Engineered(OURS))}  # a part may be made of parts itself
"""All that come with optagent. Models trained elsewhere, or made of other models, are in bundles and never searched."""


def family_named(name: str) -> Family:
    """The family of that name, or a user's own by dotted path or entry point.

    InvalidRequest lists the known families, or says what is wrong with the user's. MissingExtra: the library of one
    of ours is not installed. Our names come first.
    """
    check_name(name)
    if name in EXTRAS:
        require_library(name, f"the family {name}")
    return OURS.get(name) or user_family(name)


def check_name(name: str) -> None:
    """Raises InvalidRequest unless the name is that of a family, or has the form of a path to one; imports nothing."""
    if not is_ours(name) and not is_path(name) and name not in installed_families():
        names = sorted({*FAMILIES, *installed_families()})
        raise InvalidRequest(f"unknown family {name!r}; one of {names}, or your own as package.module:Class")


def fast_first(families: Iterable[Family]) -> list[Family]:
    """The families in the order in which ours are listed, and then those of users."""
    places = {name: place for place, name in enumerate(FAMILIES)}
    return sorted(families, key=lambda family: places.get(family.name, len(places)))


def families_for(task: Task) -> tuple[Family, ...]:
    """The families that can learn `task`."""
    return tuple(family for family in FAMILIES.values() if family.supports(task))
