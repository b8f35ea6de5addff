"""Answering versions: the champion or the mixture that gateways answer by, or one version, loaded to score files."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from optagent.domain.mixture import MixtureWeights
from optagent.domain.model import CHAMPION
from optagent.domain.prediction_interval import IntervalThresholds
from optagent.errors import NotFound, OptAgentError
from optagent.loop.champion import champion_of
from optagent.loop.context import Ports
from optagent.ports import Loader
from optagent.serving.batch_scorer import BatchScorer, ScorerRecipe, make_scorer, recipe_of
from optagent.serving.engine import ServedModel

_LOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class AnsweringVersions:
    """The version that answers, or with `weights` those that answer together; `digests` are those of their bundles.

    `thresholds` are those of the routing table, whoever answers; None where it has none.
    """

    champion: str
    weights: MixtureWeights | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    thresholds: IntervalThresholds | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Each version once, the champion first."""
        mixed = () if self.weights is None else self.weights.versions
        return tuple(dict.fromkeys((self.champion, *mixed)))


@dataclass(frozen=True, slots=True)
class LoadedScorer:
    """A scorer, its recipe for other processes where there is one, and what is to be said about its versions."""

    scorer: BatchScorer
    recipe: ScorerRecipe | None
    notes: tuple[str, ...]
    models: tuple[ServedModel, ...]

    def close(self) -> None:
        """Ends the engines."""
        for model in self.models:
            model.close()


async def find_answering(model_id: str, version: str | None, ports: Ports) -> AnsweringVersions:
    """The version of that number or alias alone; without one, those of the routing table, or the registry's champion.

    Raises ModelNotFound for an unknown version, and NotFound for a model without a champion.
    """
    table = None if ports.routes is None else await ports.routes.active_table(model_id)
    thresholds = None if table is None else table.intervals
    if version is not None:
        chosen = await asyncio.to_thread(ports.registry.version, model_id, version)
        return AnsweringVersions(chosen.version, None, {chosen.version: chosen.digest}, thresholds=thresholds)
    champion = await asyncio.to_thread(champion_of, model_id, ports.registry)
    if table is None and champion is None:
        raise NotFound(
            f"{model_id} has no {CHAMPION}: make one by `optagent optimize {model_id}` or `optagent import URI --as"
            f" {model_id}`, or name a version by --version"
        )
    if table is None:
        assert champion is not None
        return AnsweringVersions(champion.version, None, {champion.version: champion.digest})
    notes = []
    if champion is not None and not table.rollout_id and champion.version != table.champion:
        notes.append(
            f"version {table.champion} answers by the routing table, as in gateways; the registry's champion is"
            f" {champion.version}, which `optagent up` routes to, or take it by --version {CHAMPION}"
        )
    return AnsweringVersions(table.champion, table.mixture, table.digests, tuple(notes), thresholds)


def load_scorer(model_id: str, answering: AnsweringVersions, loader: Loader) -> LoadedScorer:
    """A scorer of the versions that can be loaded; blocks for seconds. Raises the error of the first where none can."""
    models: dict[str, ServedModel] = {}
    errors: dict[str, OptAgentError] = {}

    def load(name: str) -> None:
        try:
            models[name] = loader.load(model_id, name, answering.digests.get(name, ""))
        except OptAgentError as error:
            errors[name] = error

    with ThreadPoolExecutor(_LOADS_AT_ONCE, "optagent-load") as pool:
        list(pool.map(load, answering.names))
    if not models:
        raise errors[answering.champion]
    models = {name: models[name] for name in answering.names if name in models}
    scorer = make_scorer(answering.champion, models, answering.weights)
    notes = [f"version {name} cannot be loaded and is left out: {error}" for name, error in errors.items()]
    if answering.weights is not None and scorer.mixture is None:
        notes.append(f"the mixture's weights do not fit the loaded versions: version {scorer.alone.version} answers")
    recipe = recipe_of(answering.champion, models, answering.weights)
    return LoadedScorer(scorer, recipe, (*answering.notes, *notes), tuple(models.values()))
