"""Lifeline: a socket whose closing ends a child process together with its parent, whatever the child is doing."""

import os
import select
import socket
import sys
import threading


def end_with_parent(lifeline: socket.socket) -> None:
    """Has the kernel kill this process when the parent's end closes, even if a library hangs and holds the GIL."""
    if sys.platform == "linux":
        import fcntl
        import signal

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:
            os._exit(1)
        return

    def wait() -> None:
        lifeline.recv(1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
