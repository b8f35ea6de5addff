"""Vital signs, read from the store: a model whose mixture cannot be read holds up no other."""

from dataclasses import replace

from optagent.domain.fleet import Answerer, Fleet, LatestProcess
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.vital_signs import VitalSigns
from optagent.errors import OptAgentError, Unavailable
from optagent.loop.context import Ports
from optagent.loop.fleet import FleetAsk, read_fleet

_MODELS = 10_000
_WAITING = 10_000


async def read_vital_signs(ports: Ports) -> VitalSigns:
    """The figures of now; raises Unavailable."""
    fleet = await read_fleet(FleetAsk(limit=_MODELS, days=0), ports)
    queue, log = await ports.store.queue_head(_WAITING), await ports.store.audit_links(limit=1)
    return VitalSigns(
        fleet.at,
        fleet.models,
        await _read_mixtures(fleet, ports),
        tuple(map(LatestProcess.of, queue.running)),
        len(queue.waiting),
        log.head.sequence,
        await ports.store.memory(),
    )


async def _read_mixtures(fleet: Fleet, ports: Ports) -> dict[str, MixtureStatus]:
    """The status of each mixture that answers, without its history."""
    from optagent.loop.mixture.status import read_status  # what it imports takes a while

    statuses = {}
    for standing in fleet.models:
        if standing.answerer is Answerer.MIXTURE:
            try:
                status = await read_status(standing.model_id, ports.store)
            except Unavailable:
                raise
            except OptAgentError:  # its record is named by the health of the parts
                continue
            statuses[standing.model_id] = replace(status, history=(), events=())
    return statuses
