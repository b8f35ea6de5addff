"""Propose: a version as the candidate of a rollout, if it can take the champion's place, and the rules for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optagent.codec import decode, plain
from optagent.domain.model import CHAMPION, ModelSpec, ModelVersion
from optagent.domain.rollout_policy import ERRORS, SLOW, RolloutPolicy, policy_of
from optagent.domain.strategy import Strategy
from optagent.errors import Conflict, InvalidRequest, ModelNotFound
from optagent.loop.observe.inputs import reference_of
from optagent.loop.observe.reference import Reference
from optagent.loop.rollout.evidence import mean_loss, row_loss
from optagent.loop.train.load import load_version
from optagent.ports import Datasets, Observations, Registry
from optagent.training.encoding import Schema

_GUARDRAILS = frozenset({ERRORS, SLOW})


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The two versions of a rollout, and its rules."""

    champion: str
    candidate: str
    policy: RolloutPolicy


def propose(
    spec: ModelSpec,
    candidate: str,
    strategy: Strategy,
    changes: Mapping[str, Any],
    registry: Registry,
    observations: Observations,
    datasets: Datasets,
) -> RolloutPlan:
    """What a rollout of a version or alias would be; blocks.

    `changes` are fields of the strategy's policy. Raises Conflict where there is no champion, or where the candidate is
    another kind of model; InvalidRequest for a bad rule and a candidate that is the champion; ModelNotFound and
    CorruptBundle.
    """
    champion, proposed = _champion(spec, registry), registry.version(spec.model_id, candidate)
    if proposed.version == champion.version:
        raise InvalidRequest(f"{candidate}: version {champion.version} is the champion already")
    serving = load_version(champion, registry)
    _check_alike(proposed.version, load_version(proposed, registry).schema, serving.schema)
    reference, _ = reference_of(champion, serving, spec, observations, datasets, seed=0)
    return RolloutPlan(champion.version, proposed.version, policy_for(spec, strategy, changes, reference))


def policy_for(spec: ModelSpec, strategy: Strategy, changes: Mapping[str, Any], reference: Reference) -> RolloutPolicy:
    """The strategy's rules for what the champion loses on its reference, with the changes that were asked for.

    Labels are waited for as long as the model's label horizon is, where that is a duration.
    """
    if not isinstance(changes, Mapping):
        raise InvalidRequest(f"policy: a mapping of fields is needed, got {type(changes).__name__}")
    loss = row_loss(spec.task, spec.metric, reference.observed)
    usual = policy_of(strategy, mean_loss(loss, reference.observed))
    delay = spec.horizon if isinstance(spec.label_horizon, str) else 0.0
    policy = decode(RolloutPolicy, {**plain(usual), "label_delay_s": delay, **changes})
    unknown = sorted(set(policy.guardrails) - _GUARDRAILS)
    if unknown:
        raise InvalidRequest(f"guardrails: unknown {', '.join(unknown)}; one of {sorted(_GUARDRAILS)}")
    return policy


def _champion(spec: ModelSpec, registry: Registry) -> ModelVersion:
    try:
        return registry.version(spec.model_id, CHAMPION)
    except ModelNotFound:
        raise Conflict(f"model {spec.model_id!r} has no champion that a candidate could replace") from None


def _check_alike(version: str, candidate: Schema, champion: Schema) -> None:
    """Whoever reads the answers must be able to read them after a promotion as before."""
    for name in ("task", "target", "classes"):
        own, needed = getattr(candidate, name), getattr(champion, name)
        if own != needed:
            raise Conflict(
                f"version {version} has {name} {_shown(own)}, the champion {_shown(needed)}: they must be equal"
            )


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(str(value))
