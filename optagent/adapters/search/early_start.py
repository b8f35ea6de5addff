"""Early start of a search: decides whether its first trials are trained before there are workers."""

from collections.abc import Iterable

from optagent.domain.study import Study
from optagent.training.families.names import is_ours
from optagent.training.problem import Problem

MOST_BYTES = 64_000_000
"""Features of larger tables go to the memory of the workers at once, so that there is one copy of them."""


def may_start_early(study: Study, problem: Problem, beside_gateway: bool) -> bool:
    """True where trials may be trained in the command's process: with code and limits that need no worker of their own.

    Beside a gateway they belong on workers, which give way to it.
    """
    bounded = study.trial_memory_mb is not None or study.gpus_per_trial > 0
    return is_small(problem) and are_trusted(study.spaces) and not bounded and not beside_gateway


def are_trusted(families: Iterable[str]) -> bool:
    """True where all families come with optagent; the code of a user may hang, or end its process."""
    return all(map(is_ours, families))


def is_small(problem: Problem) -> bool:
    """True where a process may have the rows for itself besides those that the workers share."""
    return problem.data.x.nbytes <= MOST_BYTES
