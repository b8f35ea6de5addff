"""Trial writer: a thread that adds trials to an Optuna study, which it opens first."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from optagent.errors import Unavailable


class TrialWriter:
    """Adds trials in their order. An error of opening or writing is raised by a later call: Unavailable, or Conflict
    from `open_study`."""

    def __init__(self, open_study: Callable[[], optuna.Study]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trial-store")
        self._study = self._thread.submit(open_study)
        self._work: deque[Future[optuna.Study] | Future[None]] = deque([self._study])

    def add(self, trial: FrozenTrial) -> None:
        """Queues a trial; raises what came of those before."""
        self._raise_errors(wait=False)
        self._work.append(self._thread.submit(self._add, trial))

    def close(self) -> None:
        """Waits until every trial is written."""
        self._raise_errors(wait=True)
        self._thread.shutdown()

    def _add(self, trial: FrozenTrial) -> None:
        self._study.result().add_trial(trial)

    def _raise_errors(self, wait: bool) -> None:
        while self._work and (wait or self._work[0].done()):
            try:
                self._work.popleft().result()
            except (StorageInternalError, SQLAlchemyError, RedisError, OSError) as error:
                raise Unavailable(f"the trial store does not take a trial: {error}") from error
