"""Champion: the version that the registry's alias of that name points to."""

from optagent.domain.model import CHAMPION, ModelVersion
from optagent.errors import ModelNotFound
from optagent.ports import Registry


def champion_of(model_id: str, registry: Registry) -> ModelVersion | None:
    """The champion of a model, None where it has none; blocks. Raises Unavailable."""
    try:
        return registry.version(model_id, CHAMPION)
    except ModelNotFound:
        return None
