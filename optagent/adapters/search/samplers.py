"""The samplers a study can use, by name; each is an Optuna `BaseSampler`."""

from collections.abc import Callable

from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from optagent.errors import InvalidRequest


def tpe_sampler(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimators over all parameters of a family at once (Watanabe 2023).

    `group` keeps the parameters of one family apart from those of another; pending trials count as bad ones, so that
    workers do not try the same place.
    """
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=10)


def random_sampler(seed: int) -> BaseSampler:
    """Independent uniform draws: the control of every comparison."""
    return RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": tpe_sampler, "random": random_sampler}


def sampler_named(name: str, seed: int) -> BaseSampler:
    """A fresh sampler; InvalidRequest lists the known names."""
    if name not in SAMPLERS:
        raise InvalidRequest(f"unknown sampler {name!r}; one of {sorted(SAMPLERS)}")
    return SAMPLERS[name](seed)
