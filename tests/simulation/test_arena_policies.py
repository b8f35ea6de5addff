"""The arena's policies: the product's own replays begin where all other entrants do."""

import numpy as np

from tests.performance.arena import synthetic
from tests.performance.arena.calendars import Calendar
from tests.performance.arena.entrant import replay
from tests.performance.arena.entrants import NEVER
from tests.performance.arena.policies import replay_policy
from tests.performance.arena.stream import stream_of


def test_a_policy_begins_with_the_model_of_the_other_entrants():
    stream = stream_of("sea", synthetic.sea_history(4_000), "1d")
    policy, never = replay_policy("conservative:champion", stream, 0), replay(NEVER, Calendar(), stream)
    assert policy.trainings == 1
    assert np.array_equal(policy.answers, never.answers)
