"""Trials may be kept in Redis, as Optuna's journal."""

from pathlib import Path

import pytest

from optagent.adapters.search.trial_storage import open_storage
from optagent.adapters.search.trial_store import TrialStore
from optagent.adapters.state.embedded.embedded_redis import EmbeddedRedis
from optagent.domain.model import Task
from optagent.domain.space import Int, SearchSpace
from optagent.domain.study import Study, Trial, TrialState
from optagent.errors import Unavailable


def test_a_study_in_redis_goes_on(tmp_path: Path):
    space = SearchSpace((Int("leaves", 4, 64, log=True),))
    study = Study("s", "m", Task.BINARY, "auc", True, {"trees": space}, {"trees": {"leaves": 31}}, trials=3)
    with EmbeddedRedis(tmp_path) as server:
        for done in range(3):
            store = TrialStore(study, open_storage(server.url))
            assert [trial.number for trial in store.earlier_trials] == list(range(done))
            asked = store.ask()
            store.measure(asked, 3, (0.5,))
            store.tell(asked, Trial(asked.number, "trees", asked.params, TrialState.COMPLETE, 0.5 + done / 10))
            store.close()
        assert TrialStore(study, open_storage(server.url)).is_exhausted


def test_a_redis_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as said:
        TrialStore(
            Study("s", "m", Task.BINARY, "auc", True, {"trees": SearchSpace((Int("leaves", 4, 64),))}, {}),
            open_storage("redis://:hunter2@127.0.0.1:1/0"),
        )
    assert "hunter2" not in str(said.value)
