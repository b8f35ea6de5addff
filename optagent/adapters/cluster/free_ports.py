"""Free ports: finds and tests ports of this machine on which no process listens."""

import contextlib
import socket


def free_port(preferred: int = 0) -> int:
    """`preferred` where it is free, else any free port; another process may take it a moment later."""
    for port in (preferred, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return int(probe.getsockname()[1])
    raise AssertionError("this machine has no free port")


def is_free(host: str, port: int) -> bool:
    """True where a server could listen on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections may linger
        probe.bind((host, port))
        return True
    return False
