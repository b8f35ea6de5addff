"""Feature engineering: columns made of columns, kept where the champion's own parameters score better with them."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from optagent.analysis.bootstrap import Resampling
from optagent.codec import plain
from optagent.domain.command import EngineerFeatures
from optagent.domain.feature_result import FeatureResult
from optagent.domain.model import CHAMPION, ModelSpec
from optagent.domain.strategy import strategy_named
from optagent.errors import InvalidRequest, ModelNotFound
from optagent.features.proposal import FeatureProposal, ProposalLimits, ProposalRules
from optagent.features.propose import propose_features as propose
from optagent.features.screening_statistics import Block, BlockStatistics, Screen, Spread, screen_block, screen_serially
from optagent.loop.context import Ports
from optagent.loop.process import Run
from optagent.loop.train.build import BuiltModel, build_recipe
from optagent.loop.train.ensemble import recipe_of
from optagent.loop.train.holdout import Baseline, HoldoutTest, champion_on_holdout
from optagent.loop.train.holdout_looks import prove_on_holdout
from optagent.loop.train.prepare import PreparedRows, prepare
from optagent.loop.train.register import register_result
from optagent.loop.train.study import families_of
from optagent.ports import Registry, Workers
from optagent.training.columns import Kind
from optagent.training.families.registry import family_named
from optagent.training.metrics import Metric, metric_named
from optagent.training.recipe import Recipe, train_recipe

_WORTH_SHARING = 20_000_000  # rows times candidates: fewer are screened sooner than workers have started


async def engineer_features(command: EngineerFeatures, spec: ModelSpec, ports: Ports, run: Run) -> FeatureResult:
    """Prepares rows, proposes and proves features, and validates and registers a model with the accepted ones."""
    await run.stage("prepare")
    prepared = await asyncio.to_thread(prepare, spec, ports.datasets, command.seed)
    recipe, notes = await asyncio.to_thread(current_recipe, prepared, ports.registry)
    await run.stage("engineer")
    metric = metric_named(spec.metric, spec.task)
    proposal = await asyncio.to_thread(propose_features, command, prepared, recipe, metric, ports, run)
    result = _feature_result(proposal, prepared, notes, run, ports)
    if not proposal.accepted:
        return result
    await run.stage("validate")
    test = HoldoutTest(prepared, metric, strategy_named(command.strategy).alpha, command.seed)
    built, baseline, note = await asyncio.to_thread(_build_beside_baseline, proposal, recipe, test, ports)
    prediction = await asyncio.to_thread(built.model.predict, prepared.holdout.x)
    comparison = await prove_on_holdout(prediction, baseline, test, run.process.process_id, ports)
    result = replace(result, notes=(*result.notes, *((note,) if note else ())))
    metrics = {f"cv_{metric.name}": built.score, **comparison.scores(metric.name)}
    return await register_result(result, built, comparison, metrics, prepared, ports, run)


def current_recipe(prepared: PreparedRows, registry: Registry) -> tuple[Recipe, tuple[str, ...]]:
    """The champion's recipe without its plan, or the first family's defaults where it has none; with notes."""
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


def propose_features(
    command: EngineerFeatures, prepared: PreparedRows, recipe: Recipe, metric: Metric, ports: Ports, run: Run
) -> FeatureProposal:
    """A proposal of features for the recipe's model, or with the reason why there are none; blocks."""
    time, entity = prepared.dev_time, prepared.dev_entity
    dates = [column.name for column in prepared.schema.columns if column.kind is Kind.DATETIME]
    return propose(
        prepared.problem,
        family_named(recipe.family),
        metric,
        params=recipe.params,
        rounds=recipe.rounds,
        dates=dates,
        how=Resampling(seed=command.seed, time_ordered=time is not None, groups=entity if time is None else time),
        limits=ProposalLimits(features=command.max_features, seconds=command.timeout_s, memory_mb=command.memory_mb),
        rules=ProposalRules(alpha=strategy_named(command.strategy).alpha),
        seed=command.seed,
        threads=ports.threads,
        spread=_spread_over(ports.workers, run),
    )


def _spread_over(workers: Workers | None, run: Run) -> Spread:
    """Spreads blocks over workers that share the rows, where there are enough rows and candidates for it."""

    def spread(screen: Screen, blocks: Iterable[Block]) -> Iterable[BlockStatistics]:
        every_block = list(blocks)
        if workers is None or len(screen.residuals) * sum(len(block.steps) for block in every_block) < _WORTH_SHARING:
            return screen_serially(screen, every_block)
        with workers.share(screen) as pool:
            return pool.map(
                screen_block,
                every_block,
                run.is_cancelled,
                lambda done: run.count_done(done, len(every_block), "blocks of candidates"),
            )

    return spread


def _build_beside_baseline(
    proposal: FeatureProposal, recipe: Recipe, test: HoldoutTest, ports: Ports
) -> tuple[BuiltModel, Baseline, str | None]:
    """The model with the features beside the champion, or beside the same parameters without them where it has none."""
    assert proposal.plan is not None, "a plan was accepted"
    score = proposal.score if proposal.score is not None else float("nan")
    prepared = test.prepared
    built = build_recipe(recipe, prepared.with_plan(proposal.plan), test.seed, ports.threads, score)
    baseline, note = champion_on_holdout(prepared, ports.registry)
    if baseline is None:
        plain_model = train_recipe(prepared.problem, recipe, test.seed, ports.threads)
        baseline = Baseline("the same parameters without the features", plain_model.predict(prepared.holdout.x))
    return built, baseline, note


def _feature_result(
    proposal: FeatureProposal, prepared: PreparedRows, notes: tuple[str, ...], run: Run, ports: Ports
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
        features=tuple(plain(feature) for feature in proposal.features),
        columns=tuple(plain(column) for column in proposal.columns),
        duration_s=ports.clock.now() - run.process.created_at,
        notes=(*prepared.notes, *notes, *proposal.notes),
    )
