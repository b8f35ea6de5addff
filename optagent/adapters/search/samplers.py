"""Sampler registry: the samplers a study can use, by name; each is an Optuna `BaseSampler`."""

from collections.abc import Callable

from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from optagent.adapters.search.hyperopt_sampler import HyperoptSampler
from optagent.adapters.search.portfolio_sampler import PortfolioMember, PortfolioSampler
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


def gp_sampler(seed: int) -> BaseSampler:
    """Bayesian optimization by a Gaussian process; scikit-learn is loaded only here."""
    from optagent.adapters.search.gp_sampler import GPSampler

    return GPSampler(seed)


def nsga2_sampler(seed: int) -> BaseSampler:
    """A genetic algorithm that sorts by non-domination (Deb 2002)."""
    return NSGAIISampler(seed=seed)


def portfolio_sampler(seed: int) -> BaseSampler:
    """The other samplers in turns; the gain expected of each was measured on surrogates of tree tuning."""
    members = {
        "gp": PortfolioMember(gp_sampler, 0.6),
        "tpe": PortfolioMember(tpe_sampler, 0.45),
        "hyperopt": PortfolioMember(HyperoptSampler, 0.1),
        "random": PortfolioMember(random_sampler, 0.05),
    }
    return PortfolioSampler(seed, members)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": tpe_sampler,
    "gp": gp_sampler,
    "hyperopt": HyperoptSampler,
    "random": random_sampler,
    "nsga2": nsga2_sampler,
    "portfolio": portfolio_sampler,
}


def sampler_named(name: str, seed: int) -> BaseSampler:
    """A fresh sampler; InvalidRequest lists the known names."""
    if name not in SAMPLERS:
        raise InvalidRequest(f"unknown sampler {name!r}; one of {sorted(SAMPLERS)}")
    return SAMPLERS[name](seed)
