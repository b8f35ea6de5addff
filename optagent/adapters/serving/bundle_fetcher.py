"""Bundle fetcher: the process that brings a version's bundle from the registry into the cache. See `isolated`.

It has the secrets that the registry needs, and so it runs no code of a model: bundles are checked here, not opened.
"""

import os
import pickle
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from optagent.adapters.serving.bundle_cache import BundleCache
from optagent.adapters.serving.frames import describe_refusal, receive, send
from optagent.adapters.serving.lifeline import end_with_parent
from optagent.errors import CorruptBundle, Unavailable
from optagent.ports import Registry

_MOST_BYTES = 2**20
_NICE = 10


def main(channel: socket.socket, lifeline: socket.socket) -> None:
    """Answers the digest of the version whose bundle lies in the cache then."""
    end_with_parent(lifeline)
    request, recipe = receive(channel, _MOST_BYTES)
    if sys.platform == "linux":
        os.nice(_NICE)  # it yields to the gateways of this machine
    try:
        make_registry = pickle.loads(recipe)  # noqa: S301 - the parent's own function
        cache = BundleCache(Path(request["cache"]))
        digest = fetch_version(make_registry, cache, request["model_id"], request["version"], request["digest"])
    except Exception as error:
        send(channel, describe_refusal(error))
        return
    send(channel, {"digest": digest})


def fetch_version(
    make_registry: Callable[[], Registry], cache: BundleCache, model_id: str, version: str, digest: str
) -> str:
    """Brings the version's bundle into the cache, and answers its digest.

    `digest` is that of the routing table; where it is empty, the registry's counts. Raises CorruptBundle where both
    differ, as after a registry was made anew, and Unavailable where the registry is needed and away.
    """
    label = f"{model_id} version {version}"

    def download(folder: Path) -> Path:
        registry = make_registry()
        there = registry.version(model_id, version)
        if there.digest != digest:
            raise CorruptBundle(
                f"{label}: the routing table names the bundle {digest[:12]}, the registry has {there.digest[:12]}"
            )
        return registry.fetch(there, folder)

    if not digest:
        digest = _ask_registry(make_registry, model_id, version)
    try:
        cache.fetch(digest, download)
    except Unavailable as error:
        raise Unavailable(f"{label}: its bundle {digest[:12]} has no sound copy on this machine: {error}") from error
    cache.prune()
    return digest


def _ask_registry(make_registry: Callable[[], Registry], model_id: str, version: str) -> str:
    try:
        return make_registry().version(model_id, version).digest
    except Unavailable as error:
        raise Unavailable(
            f"{model_id} version {version}: its routing table has no digest, so only the registry can say which bundle"
            f" that is: {error}"
        ) from error


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])))
