"""The mark of a gateway on its machine: a Unix socket that has a name and no file, seen while its process lives.

A file could be deleted under a gateway that runs for weeks (systemd-tmpfiles, a logout), and would lie where TMPDIR and
the user say. A name in the abstract namespace (unix(7)) has no folder, rights or remains. It is seen in the network
namespace of its process: Ray's workers on a machine share one. Linux only; elsewhere no gateway leaves a mark.
"""

import contextlib
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = "optagent-gateway"
_SOCKETS = Path("/proc/net/unix")


@contextlib.contextmanager
def mark_gateway(name: str = _NAME) -> Iterator[None]:
    """Marks this machine until the end of the block or of the process. A system that forbids it goes without."""
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        with contextlib.suppress(OSError):
            mark.bind(f"\0{name}-{secrets.token_hex(8)}")  # several gateways of a machine have a mark each
        yield


def has_gateway(name: str = _NAME) -> bool:
    """True where a gateway runs on this machine, whoever has started it. Takes some 30 µs, and waits for nobody."""
    try:
        return f" @{name}-".encode() in _SOCKETS.read_bytes()
    except OSError:
        return False
