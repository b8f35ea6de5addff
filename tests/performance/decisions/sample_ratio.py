"""The sample-ratio test of split traffic: false alarms at the share that was meant, and the rows to find another."""

import numpy as np

from optagent.sequential.sample_ratio import SampleRatioTest
from tests.performance.decisions.case import Case

_SHARE, _ALPHA, _LOOK = 0.05, 0.005, 500


def false_alarms(runs: int) -> float:
    """The share of 20,000 fairly assigned keys' runs that alarm at any of their looks."""
    return float(np.mean([np.isfinite(_keys_to_alarm(seed, _SHARE, 20_000)) for seed in range(runs)]))


def keys_to_alarm(runs: int) -> float:
    """The median number of keys until a share of .06 is told from the .05 that was meant."""
    return float(np.median([_keys_to_alarm(seed, 0.06, 60_000) for seed in range(runs)]))


def _keys_to_alarm(seed: int, share: float, keys: int) -> float:
    rng, test = np.random.default_rng([seed, 1]), SampleRatioTest()
    for looked in range(_LOOK, keys + 1, _LOOK):
        test = test.after(rng.random(_LOOK) < share, np.full(_LOOK, _SHARE))
        if test.e_value >= 1 / _ALPHA:
            return looked
    return float("inf")


CASES = [
    Case(
        "sample-ratio-false", "sample ratio", "independent keys", "false alarms", "<= .005", 1000, false_alarms, ".0025"
    ),
    Case("sample-ratio-power", "sample ratio", "share .06 for .05", "median keys", "", 200, keys_to_alarm, "6500-7500"),
]
