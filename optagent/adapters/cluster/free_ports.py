"""Ports of this machine that nobody listens on."""

import contextlib
import socket


def free_port(preferred: int = 0) -> int:
    """`preferred` where it is free, else any; it may be taken again a moment later."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    raise AssertionError("this machine has no free port")


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: connections of before may linger
        probe.bind((host, port))
        return True
    return False
