"""MLflow runs of studies: one parent run for the study, one child run for each trial."""

import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optagent.adapters.models.mlflow_connection import MlflowConnection
from optagent.codec import plain
from optagent.domain.study import Study, Trial, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient

_logger = logging.getLogger(__name__)

_STUDY_TAG, _STATE_TAG = "optagent.study", "optagent.state"
_STATUS = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.INFEASIBLE: "FAILED",
    TrialState.FAILED: "FAILED",
}
_PARAM_CHARACTERS, _TAG_CHARACTERS = 6000, 8000
_TRUST_S = 5.0
_METRICS_A_BATCH, _PARAMS_A_BATCH = 900, 100


@dataclass
class _StudyRun:
    """The state of a study's run while it is written; child runs by trial number, so that a retry makes no second."""

    run_id: str
    children: dict[int, str] = field(default_factory=dict)
    written: int = 0
    best: float | None = None
    pending: list[tuple[str, float, int, int]] = field(default_factory=list)


class StudyRuns:
    """Writes to the server at once. Use it from one thread; each method may be called again after it failed."""

    def __init__(self, server: MlflowConnection) -> None:
        self._server = server
        self._runs: dict[str, _StudyRun] = {}

    def begin(self, study: Study, at: float) -> None:
        """Opens the study's run, or the one that an earlier process opened for it."""
        with self._server.session(_TRUST_S) as client:
            self._study_run(client, study, at)

    def trial(self, study: Study, trial: Trial, at: float) -> None:
        """Writes a finished run for the trial, which ended at POSIX time `at`."""
        ended_ms = _ms(at)
        with self._server.session(_TRUST_S) as client:
            run = self._study_run(client, study, at)
            run_id = self._trial_run(client, study, run, trial, ended_ms)
            metrics = [(study.metric, score, ended_ms, units) for units, score in trial.measurements.items()]
            metrics += [("rounds", trial.rounds, ended_ms, 0), ("units", trial.units, ended_ms, 0)]
            metrics += [("duration_s", trial.duration_s, ended_ms, 0)]
            if trial.score is not None:
                metrics.append(("score", trial.score, ended_ms, 0))
            _log(client, run_id, metrics, trial.params)
            client.set_terminated(run_id, _STATUS[trial.state], ended_ms)
            run.children[trial.number] = run_id
        self._note_progress(study, run, trial, ended_ms)

    def flush(self, study: Study) -> None:
        """Writes the study's progress in one batch."""
        run = self._runs.get(study.study_id)
        if run is not None and run.pending:
            with self._server.session(_TRUST_S) as client:
                _log(client, run.run_id, run.pending, {})
            run.pending.clear()

    def end(
        self,
        study: Study,
        succeeded: bool,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        at: float,
        artifacts: Path | None = None,
    ) -> None:
        """Closes the study's run; if its files cannot be uploaded, that is only logged."""
        self.flush(study)
        with self._server.session(_TRUST_S) as client:
            run_id = self._study_run(client, study, at).run_id
            _log(client, run_id, [(name, value, _ms(at), 0) for name, value in metrics.items()], {}, tags)
            self._upload(client, run_id, study, artifacts)
            client.set_terminated(run_id, "FINISHED" if succeeded else "FAILED", _ms(at))
        self._runs.pop(study.study_id, None)

    def _upload(self, client: "MlflowClient", run_id: str, study: Study, artifacts: Path | None) -> None:
        if artifacts is None or not artifacts.is_dir():  # deleted if the search no longer waited for this
            return
        try:
            client.log_artifacts(run_id, str(artifacts), "study")
        except Exception as error:  # MLflow's artifact stores raise errors of any kind
            _logger.warning(
                "MLflow at %s: the files of %s are not kept: %s", self._server.address, study.study_id, error
            )

    def _study_run(self, client: "MlflowClient", study: Study, at: float) -> _StudyRun:
        if study.study_id not in self._runs:
            run_id = self._find_run(client, study) or self._create_run(client, study, at)
            _log(client, run_id, [], _study_params(study))
            self._runs[study.study_id] = _StudyRun(run_id)
        return self._runs[study.study_id]

    def _find_run(self, client: "MlflowClient", study: Study) -> str | None:
        if not re.fullmatch(r"[\w.:-]+", study.study_id):
            return None
        runs = client.search_runs(
            [self._server.experiment_id()],
            f"tags.`{_STUDY_TAG}` = '{study.study_id}' and tags.`{_STATE_TAG}` = 'study'",
            max_results=1,
        )
        if not runs:
            return None
        client.update_run(runs[0].info.run_id, status="RUNNING")
        return str(runs[0].info.run_id)

    def _create_run(self, client: "MlflowClient", study: Study, at: float) -> str:
        tags = {
            _STUDY_TAG: study.study_id,
            _STATE_TAG: "study",
            "optagent.model": study.model_id,
            "optagent.task": str(study.task),
            "optagent.sampler": study.sampler,
            "optagent.metric": study.metric,
        }
        name = f"{study.model_id} {study.study_id}"
        return str(client.create_run(self._server.experiment_id(), _ms(at), tags, name).info.run_id)

    def _trial_run(self, client: "MlflowClient", study: Study, run: _StudyRun, trial: Trial, ended_ms: int) -> str:
        if trial.number not in run.children:
            tags = {
                "mlflow.parentRunId": run.run_id,
                _STUDY_TAG: study.study_id,
                _STATE_TAG: str(trial.state),
                "optagent.family": trial.family,
            }
            if trial.error:
                tags["optagent.error"] = trial.error[:_TAG_CHARACTERS]
            started_ms = ended_ms - round(trial.duration_s * 1000)
            created = client.create_run(
                self._server.experiment_id(), started_ms, tags, f"trial {trial.number} {trial.family}"
            )
            run.children[trial.number] = created.info.run_id
        return run.children[trial.number]

    def _note_progress(self, study: Study, run: _StudyRun, trial: Trial, ended_ms: int) -> None:
        run.written += 1
        if trial.state is TrialState.COMPLETE and trial.score is not None and math.isfinite(trial.score):
            better = max if study.maximize else min
            run.best = trial.score if run.best is None else better(run.best, trial.score)
            run.pending.append((f"best_{study.metric}", run.best, ended_ms, run.written))
        run.pending.append(("trials", run.written, ended_ms, run.written))


def _log(
    client: "MlflowClient",
    run_id: str,
    metrics: list[tuple[str, float, int, int]],
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> None:
    """Logs metrics (name, value, milliseconds, step), parameters and tags in as few requests as MLflow allows."""
    from mlflow.entities import Metric, Param, RunTag

    values = [Metric(_allowed_name(name), float(value), at, step) for name, value, at, step in metrics]
    settings = [Param(_allowed_name(name), str(value)[:_PARAM_CHARACTERS]) for name, value in params.items()]
    labels = [RunTag(_allowed_name(name), str(value)[:_TAG_CHARACTERS]) for name, value in (tags or {}).items()]
    while values or settings or labels:
        client.log_batch(run_id, values[:_METRICS_A_BATCH], settings[:_PARAMS_A_BATCH], [])
        values, settings = values[_METRICS_A_BATCH:], settings[_PARAMS_A_BATCH:]
        if labels:
            client.log_batch(run_id, tags=labels[:_PARAMS_A_BATCH])
            labels = labels[_PARAMS_A_BATCH:]


def _study_params(study: Study) -> dict[str, Any]:
    params: dict[str, Any] = {
        name: getattr(study, name)
        for name in ("trials", "timeout_s", "concurrency", "cpus_per_trial", "seed", "maximize")
    }
    params |= {f"budget.{name}": value for name, value in plain(study.budget).items()}
    params |= {f"space.{name}": json.dumps(plain(space)) for name, space in study.spaces.items()}
    params |= {f"defaults.{name}": json.dumps(dict(values), default=str) for name, values in study.defaults.items()}
    return params


def _allowed_name(name: str) -> str:
    """The name with only the characters that MLflow allows, and without dots that read as a relative path."""
    return re.sub(r"[^\w\-. :]", "_", name).strip(". ") or "_"


def _ms(at: float) -> int:
    return round(at * 1000)
