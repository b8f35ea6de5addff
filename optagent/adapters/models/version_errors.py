"""Version errors: the refusal of a version or alias that a registry does not have, with the command that helps."""

from optagent.domain.model import CHAMPION
from optagent.errors import ModelNotFound


def no_version(model_id: str, alias_or_version: str, where: str) -> ModelNotFound:
    """The error for an alias or number; `where` says in which registry it is not.

    >>> str(no_version("churn", "champion", "not in the registry"))
    'churn alias champion: not in the registry; optagent tune churn, or optagent import URI --as churn, makes one'
    """
    kind = "version" if alias_or_version.isdigit() else "alias"
    remedy = f"optagent versions {model_id} lists them"
    if alias_or_version == CHAMPION:
        remedy = f"optagent tune {model_id}, or optagent import URI --as {model_id}, makes one"
    return ModelNotFound(f"{model_id} {kind} {alias_or_version}: {where}; {remedy}")
