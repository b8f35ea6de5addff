"""Names of the families that come with optagent, as bundles have them."""

NAMES = frozenset(
    {
        "lightgbm",
        "xgboost",
        "catboost",
        "random_forest",
        "extra_trees",
        "hist_gradient_boosting",
        "linear",
        "sklearn_imported",
        "ensemble",
        "engineered",
    }
)


def is_ours(name: str) -> bool:
    """True for a family that comes with optagent, False for one that a user brings."""
    return name in NAMES
