"""Optimization verbs: searches of all kinds, the whole loop for one model, and backtests of policies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from optagent.agent.base import AgentBase
from optagent.codec import decode
from optagent.domain.backtest import BacktestAsk, BacktestResult, Contender, contender_named
from optagent.domain.command import BacktestModel, EngineerFeatures, EnsembleModels, OptimizeModel, TuneModel
from optagent.domain.dataset import DataSource, FileSource
from optagent.domain.ensemble_result import EnsembleResult
from optagent.domain.feature_result import FeatureResult
from optagent.domain.optimization import FAILED, OptimizationResult
from optagent.domain.process import Process, StageProgress, Status
from optagent.domain.study import Progress, TuningResult
from optagent.domain.study_report import StudyReport, StudySummary
from optagent.errors import Conflict, InvalidRequest, OptAgentError, ProcessNotFound
from optagent.loop.process import OnRunProgress
from optagent.loop.trigger import PolicyPass, apply_policies

_BACKTEST_FIELDS = {"start", "step", "seed", "trials", "seeds"}


class OptimizationVerbs(AgentBase):
    """Looks for better models, and registers those that are shown to be better."""

    async def tune_hyperparameters(
        self,
        model_id: str,
        method: str = "optuna",
        trials: int | None = None,
        timeout_s: float | None = None,
        strategy: str = "balanced",
        resume: bool | str = False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        **more: Any,
    ) -> TuningResult:
        """Searches for better parameters, judges the best on a holdout that no trial saw, and registers it.

        The first version of a model becomes its champion; a later one becomes challenger when it beats the champion.
        `timeout_s` is the limit of the whole, from the start of Ray to the answer; without it, the setting bounds the
        search alone. `more` are the other fields of `TuneModel`: `objectives`, `max_concurrent`, `cpus_per_trial`,
        `seed`, `stopping`, `trial_timeout_s`, `trial_memory_mb`, `max_cpu_s`, `transfer`, `starting_points`, and
        `ensemble`, the number of best trials of which an ensemble is tried at the end, and `bag`, the number of models
        of the outcome whose mean is tried then. `resume` goes on with the model's last search that did not succeed, or
        with the process of that id, as it was asked: every finished trial is kept. `on_progress` is told of its trials,
        from another thread.
        """

        async def tune() -> TuningResult:
            if resume:
                command = await self._resume_command(model_id, resume)
            else:
                _check_names(more, _field_names(TuneModel) - {"model_id", "resume"})
                objectives = tuple(more.get("objectives", ()))
                command = TuneModel(model_id, method, trials, timeout_s, strategy, **{**more, "objectives": objectives})

            def tell_trials(progress: Progress | StageProgress) -> None:
                if isinstance(progress, Progress):
                    on_progress(progress)

            result: TuningResult = await self._run(command, tell_trials)
            return result

        return await self._answer(tune(), lambda error: TuningResult(model_id=str(model_id), error=error))

    async def _resume_command(self, model_id: str, resume: bool | str) -> TuneModel:
        """The command of a search that ended early, told to go on with its study."""
        if isinstance(resume, str):
            process = await self._ports.store.process(resume)
            earlier = [process] if (process.model_id, process.kind) == (model_id, "tune") else []
        else:
            earlier = await self._ports.store.processes_of_kind(model_id, "tune", limit=1)
        if not earlier:
            raise ProcessNotFound(f"model {model_id!r} has no search to resume")
        last = earlier[0]
        if not last.status.has_ended:
            raise Conflict(f"process {last.process_id} is running: wait for it, or cancel it first")
        if last.status is Status.SUCCEEDED:
            raise Conflict(f"process {last.process_id} has succeeded: there is nothing left to resume")
        command = decode(TuneModel, last.command)
        return replace(command, resume=command.resume or last.process_id)

    async def studies(self, model_id: str | None = None) -> list[StudySummary]:
        """Searches whose trials are kept, the newest first, of all models or of one."""
        return await asyncio.to_thread(self._ports.require("studies").summaries, model_id)

    async def study(self, study_id: str) -> StudyReport:
        """The trials of a search, the importances of parameters and the Pareto front; raises NotFound."""
        return await asyncio.to_thread(self._ports.require("studies").study, study_id)

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
        timeout_s: float | None = None,
        on_progress: OnRunProgress = lambda progress: None,
    ) -> EnsembleResult:
        """Trains the base models fold by fold, searches for weights, and registers an ensemble that beats the best.

        `base_models` are registered models that learn the same target from the same rows: `churn` (its champion),
        `churn@challenger`, `churn/3`. `ensemble_method` is weighted, stacking, voting or auto. `metrics`: the first
        has to improve, no other may become worse; by default the model's. The ensemble becomes a version of
        `model_id`, by default of the first base model; its first version becomes champion, a later one challenger
        when it beats the champion on the holdout. Where no ensemble is shown to be better, the answer says so.
        `timeout_s` is the limit of the whole: base models that cannot be trained fold by fold in it are left out.
        `on_progress` is told of stages and of trained members, from any thread.
        """

        async def ensemble() -> EnsembleResult:
            command = EnsembleModels(
                tuple(base_models),
                ensemble_method,
                tuple(metrics),
                model_id,
                max_latency_ms,
                max_size_mb,
                max_models,
                strategy,
                seed,
                timeout_s,
            )
            result: EnsembleResult = await self._run(command, on_progress)
            return result

        return await self._answer(ensemble(), lambda error: EnsembleResult(model_id=str(model_id or ""), error=error))

    async def engineer_features(
        self,
        model_id: str,
        max_features: int = 20,
        timeout_s: float = 900.0,
        memory_mb: float = 1024.0,
        strategy: str = "balanced",
        seed: int = 0,
        on_progress: OnRunProgress = lambda progress: None,
    ) -> FeatureResult:
        """Proposes columns made of columns, proves them out of fold with the champion's parameters, and registers a
        model with them where it is better on rows that no search for them saw.

        Later searches of the model keep its champion's features. `on_progress` is told of stages, and of blocks of
        candidates where workers share them, from any thread.
        """

        async def engineer() -> FeatureResult:
            command = EngineerFeatures(model_id, max_features, timeout_s, memory_mb, strategy, seed)
            result: FeatureResult = await self._run(command, on_progress)
            return result

        return await self._answer(engineer(), lambda error: FeatureResult(model_id=str(model_id), error=error))

    async def optimize_model(
        self,
        model_id: str,
        optimization_type: str = "full",
        action: str = "candidate",
        strategy: str = "balanced",
        on_progress: OnRunProgress = lambda progress: None,
        **more: Any,
    ) -> OptimizationResult:
        """Diagnoses the model, learns from new rows, finds a candidate, judges it by every gate, and deploys it.

        `optimization_type` is full (features, search, ensemble), retrain, tune, features, ensemble or auto (what the
        diagnosis asks for). `action` is candidate, shadow or full. `more` are the other fields of `OptimizeModel`:
        `trials`, `timeout_s`, `window`, `gates`, `ensemble`, `bag`, `time_range`, `seed`, `refit`. The answer's
        `status` is success where a candidate passed every gate; otherwise `error_message` says why there is none.
        `on_progress` is told of stages, trials and members, from any thread.
        """

        async def optimize() -> OptimizationResult:
            own_arguments = {"model_id", "optimization_type", "action", "strategy"}
            _check_names(more, _field_names(OptimizeModel) - own_arguments)
            command = OptimizeModel(model_id, optimization_type, action, strategy, **more)
            result: OptimizationResult = await self._run(command, on_progress)
            return result

        def refuse(error: str) -> OptimizationResult:
            return OptimizationResult(model_id=str(model_id), status=FAILED, error_message=error, error=error)

        return await self._answer(optimize(), refuse)

    async def apply_policies_once(self) -> PolicyPass:
        """Checks each model with a policy, and queues an optimization where the policy calls for one.

        To be called every minute or so; where several agents see the same cause, one of them queues it. A model whose
        policy only notifies gets none: people are told of its alerts. Errors are reported by model.
        """
        return await self._acts.hold(apply_policies(self._ports))

    async def trigger_once(self) -> tuple[Process, ...]:
        """The processes that `apply_policies_once` queues; once all models were checked, raises the errors of some."""
        policy_pass = await self.apply_policies_once()
        if policy_pass.errors:
            raise OptAgentError("; ".join(f"{model}: {error}" for model, error in sorted(policy_pass.errors.items())))
        return policy_pass.queued

    async def backtest_model(
        self,
        model_id: str,
        data: DataSource | str | None,
        label_delay: str,
        policies: Sequence[str | Contender] = ("conservative", "balanced", "aggressive"),
        on_progress: OnRunProgress = lambda progress: None,
        **more: Any,
    ) -> BacktestResult:
        """Replays a model's history under each policy, in parallel, and recommends one.

        `data` has rows with labels and dates; a text is a file or URI, None the model's own data. `label_delay` is how
        long after its row a label is known. `more` are the other fields of `BacktestAsk`: `start`, `step`, `seed`,
        `trials`, `seeds`. The answer holds each policy's runs and metric over time, its difference to doing nothing
        with an interval, and what is recommended with what confidence. `on_progress` is told of stages and of finished
        replays, from any thread.
        """

        async def backtest() -> BacktestResult:
            _check_names(more, _BACKTEST_FIELDS)
            contenders = tuple(contender_named(policy) if isinstance(policy, str) else policy for policy in policies)
            source = FileSource(data) if isinstance(data, str) else data
            command = BacktestModel(model_id, source, BacktestAsk(contenders, label_delay, **more))
            result: BacktestResult = await self._run(command, on_progress)
            return result

        return await self._answer(backtest(), lambda error: BacktestResult(model_id=str(model_id), error=error))


def _field_names(kind: type[Any]) -> set[str]:
    return {field.name for field in fields(kind)}


def _check_names(arguments: Mapping[str, Any], allowed: set[str]) -> None:
    """Raises InvalidRequest for arguments that a verb does not take."""
    unknown = sorted(set(arguments) - allowed)
    if unknown:
        raise InvalidRequest(f"unknown argument {', '.join(unknown)}; one of {sorted(allowed)}")
