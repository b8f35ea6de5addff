"""Engineer: columns made of columns, where the champion's own parameters are shown to do better with them."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from optagent.analysis.bootstrap import Resampling
from optagent.codec import plain
from optagent.domain.command import EngineerFeatures
from optagent.domain.feature_result import FeatureResult
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest, ModelNotFound
from optagent.features.proposal import FeatureProposal, ProposalLimits, ProposalRules
from optagent.features.propose import engineer as proposed
from optagent.features.screening_statistics import Block, BlockStatistics, Screen, Spread, screen_block, serially
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train import holdout, register
from optagent.loop.train.ensemble import recipe_of
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.loop.train.search import BuiltModel, built_of, families_of
from optagent.ports import Registry, Workers
from optagent.training.columns import Kind
from optagent.training.families.registry import family_named
from optagent.training.metrics import Metric, metric_named
from optagent.training.recipe import Recipe, trained

_WORTH_SHARING = 20_000_000  # rows times candidates: fewer are looked at sooner than workers are up


async def engineer(command: EngineerFeatures, spec: ModelSpec, outside: Ports, run: Run) -> FeatureResult:
    """Prepares, searches and proves, validates and registers what was accepted."""
    await run.stage("prepare")
    prepared = await asyncio.to_thread(prepare, spec, outside.datasets, command.seed)
    recipe, notes = await asyncio.to_thread(current_recipe, prepared, outside.registry)
    await run.stage("engineer")
    metric = metric_named(spec.metric, spec.task)
    proposal = await asyncio.to_thread(propose, command, prepared, recipe, metric, outside, run)
    result = _result(proposal, prepared, notes, run, outside)
    if not proposal.accepted:
        return result
    await run.stage("validate")
    alpha = strategy_named(command.strategy).alpha
    built, comparison, said = await asyncio.to_thread(
        _judged, proposal, recipe, prepared, metric, alpha, command.seed, outside
    )
    await run.stage("register")
    metrics = {f"cv_{metric.name}": built.score, **comparison.scores(metric.name)}
    version = await asyncio.to_thread(
        register.register,
        built,
        prepared,
        comparison.verdict,
        metrics,
        run.process.process_id,
        outside.clock.now(),
        outside.registry,
        outside.observations,
    )
    return replace(
        result,
        **comparison.answer(version),
        duration_s=outside.clock.now() - run.process.created_at,
        notes=(*result.notes, *said),
    )


def current_recipe(prepared: PreparedRows, registry: Registry) -> tuple[Recipe, tuple[str, ...]]:
    """How the champion was trained, without a plan that it has; the first family's defaults where that is not known."""
    model_id, notes = prepared.spec.model_id, tuple[str, ...]()
    try:
        recipe = recipe_of(f"{model_id}@{CHAMPION}", prepared, registry)
        return replace(recipe, name=CHAMPION, plan=None), notes
    except ModelNotFound:
        pass
    except InvalidRequest as error:
        notes = (f"features are proven with the family's defaults: {error}",)
    family = families_of(prepared.spec)[0]
    defaults = family.defaults(prepared.spec.task)
    return Recipe("defaults", family.name, defaults, family.default_rounds), notes


def propose(
    command: EngineerFeatures, prepared: PreparedRows, recipe: Recipe, metric: Metric, outside: Ports, run: Run
) -> FeatureProposal:
    """Features for the recipe's model, or why there are none; blocks."""
    time = prepared.dev_time
    dates = [column.name for column in prepared.schema.columns if column.kind is Kind.DATETIME]
    return proposed(
        prepared.problem,
        family_named(recipe.family),
        metric,
        params=recipe.params,
        rounds=recipe.rounds,
        dates=dates,
        how=Resampling(seed=command.seed, time_ordered=time is not None, groups=time),
        limits=ProposalLimits(features=command.max_features, seconds=command.timeout_s, memory_mb=command.memory_mb),
        rules=ProposalRules(alpha=strategy_named(command.strategy).alpha),
        seed=command.seed,
        threads=outside.threads,
        spread=_spread_by(outside.workers, run.cancelled),
    )


def _spread_by(workers: Workers | None, cancelled: Callable[[], bool]) -> Spread:
    """Blocks are looked at by a crew that shares the rows, where there is enough to look at."""

    def spread(screen: Screen, blocks: Iterable[Block]) -> Iterable[BlockStatistics]:
        listed = list(blocks)
        if workers is None or len(screen.residuals) * sum(len(one.steps) for one in listed) < _WORTH_SHARING:
            return serially(screen, listed)
        with workers.share(screen) as crew:
            return crew.map(screen_block, listed, cancelled)

    return spread


def _judged(
    proposal: FeatureProposal,
    recipe: Recipe,
    prepared: PreparedRows,
    metric: Metric,
    alpha: float,
    seed: int,
    outside: Ports,
) -> tuple[BuiltModel, holdout.Comparison, tuple[str, ...]]:
    assert proposal.plan is not None, "a plan was accepted"
    score = proposal.score if proposal.score is not None else float("nan")
    built = built_of(recipe, prepared.planned(proposal.plan), seed, outside.threads, score)
    x = prepared.holdout.x
    champion, note = holdout.champion_on_holdout(prepared, outside.registry)
    if champion is None:
        plain_model = trained(prepared.problem, recipe, seed, outside.threads)
        champion = holdout.Baseline("the same parameters without the features", plain_model.predict(x))
    comparison = holdout.compare(built.model.predict(x), champion, prepared, metric, alpha, seed)
    return built, comparison, (note,) if note else ()


def _result(
    proposal: FeatureProposal, prepared: PreparedRows, notes: tuple[str, ...], run: Run, outside: Ports
) -> FeatureResult:
    return FeatureResult(
        process_id=run.process.process_id,
        model_id=prepared.spec.model_id,
        metric=proposal.metric,
        accepted=proposal.accepted,
        reason=proposal.why,
        steps=tuple(step.name for step in proposal.plan.steps) if proposal.plan else (),
        gain=proposal.improvement,
        judged_rows=proposal.judged_rows,
        candidates=proposal.candidates,
        plain_score=proposal.plain_score,
        score=proposal.score,
        features=tuple(plain(one) for one in proposal.features),
        columns=tuple(plain(one) for one in proposal.columns),
        duration_s=outside.clock.now() - run.process.created_at,
        notes=(*prepared.notes, *notes, *proposal.notes),
    )
