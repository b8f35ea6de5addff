"""Proxy folder: HAProxy's sockets and files on a node of a cluster, in a folder that only its user can enter.

Ray Serve makes HAProxy's admin socket writable for every local user, who could point a server elsewhere and read
tokens there. On a cluster that is not ours nothing of this program runs before HAProxy does, but for this hook.
"""

import os
import stat
from pathlib import Path

from optagent.errors import Unavailable

_SOCKET = "RAY_SERVE_HAPROXY_SOCKET_PATH"


def make_proxy_folder() -> None:
    """Makes the folder of the socket that Serve's variables name, before Serve makes it open to all.

    Ray calls this in each new worker of Serve. Raises Unavailable where others can enter what lies at that path.
    """
    folder = Path(os.environ[_SOCKET]).parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Unavailable(f"{folder} must be a folder of user {os.getuid()} with mode 0700, for HAProxy's admin socket")
