"""The verbs of better inputs, and of models that are better together."""

from collections.abc import Sequence

from optagent.agent.working import WorkingDesk
from optagent.domain.command import EngineerFeatures, EnsembleModels
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.feature_result import FeatureResult
from optagent.errors import OptAgentError


class BuildVerbs(WorkingDesk):
    """Looks for ensembles and features, and registers what is shown to be better."""

    async def create_ensemble(
        self,
        base_models: Sequence[str],
        ensemble_method: str = "weighted",
        metrics: Sequence[str] = (),
        model_id: str | None = None,
        max_latency_ms: float | None = None,
        max_size_mb: float | None = None,
        max_models: int | None = None,
        strategy: str = "balanced",
        seed: int = 0,
    ) -> EnsembleResult:
        """Trains the base models fold by fold, searches for weights, and registers an ensemble that beats the best.

        `base_models` are registered models that learn the same target from the same rows: `churn` (its champion),
        `churn@challenger`, `churn/3`. `ensemble_method` is weighted, stacking, voting or auto. `metrics`: the first
        has to improve, no other may become worse; by default the model's. The ensemble becomes a version of
        `model_id`, by default of the first base model; its first version becomes champion, a later one challenger
        when it beats the champion on the holdout. Where no ensemble is shown to be better, the answer says so.
        """
        try:
            names = tuple(base_models)
            command = EnsembleModels(
                names,
                ensemble_method,
                tuple(metrics),
                model_id,
                max_latency_ms,
                max_size_mb,
                max_models,
                strategy,
                seed,
            )
            result: EnsembleResult = await self._done(command)
            return result
        except OptAgentError as error:
            refused: EnsembleResult = self._refused(error, EnsembleResult, model_id or "")
            return refused

    async def engineer_features(
        self,
        model_id: str,
        max_features: int = 20,
        timeout_s: float = 900.0,
        memory_mb: float = 1024.0,
        strategy: str = "balanced",
        seed: int = 0,
    ) -> FeatureResult:
        """Proposes columns made of columns, proves them out of fold with the champion's parameters, and registers a
        model with them where it is better on rows that no search for them saw.

        Later searches of the model keep its champion's features.
        """
        try:
            command = EngineerFeatures(model_id, max_features, timeout_s, memory_mb, strategy, seed)
            result: FeatureResult = await self._done(command)
            return result
        except OptAgentError as error:
            refused: FeatureResult = self._refused(error, FeatureResult, model_id)
            return refused
