"""Ray cluster: connects to the cluster at an address, or starts one on this machine."""

import contextlib
import logging
import os
import socket
import threading

from optagent.adapters.cluster.serve_environment import use_token
from optagent.errors import Unavailable
from optagent.extras import is_installed, require_library

LOG = logging.getLogger("optagent.cluster")
_ATTEMPTS = 3
_CONNECT_S = 4.0
_BEFORE_START = {
    "RAY_worker_niceness": "0",  # workers run at nice 15 otherwise
    "RAY_agent_register_timeout_ms": "120000",  # a busy machine takes its time
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # no folder a trial
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune prints nothing, we do
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files a trial
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # a worker that hangs is not asked twice
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the trial store is what a search resumes from
}


START_REMEDY = "start it (ray start --head), or unset OPT_AGENT_RAY_ADDRESS for one on this machine"


def find_connect_error(address: str) -> OSError | None:
    """The reason why nothing can be reached at `host:port`; None where it can, and for an address of another form."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        return error
    return None


class RayCluster:
    """Connects once, and stops only a cluster that it started; `own` says that the one at `address` is a RayHead.

    Ray's processes die with the thread that started them (PR_SET_PDEATHSIG), so a thread of our own starts them and
    lives until `close`.
    """

    def __init__(self, address: str | None = None, num_cpus: int | None = None, *, own: bool = False) -> None:
        self._address = address
        self._num_cpus = num_cpus
        self._own = own
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def connect(self) -> None:
        """Connects or starts; does nothing if connected. Raises Unavailable with the address and Ray's reason.

        MissingExtra where Ray is not installed.
        """
        require_library("ray", "a Ray cluster")
        with self._lock:
            import ray

            if ray.is_initialized():
                return
            self._prepare_environment()
            self.check_address()
            ready = threading.Event()
            errors: list[Exception] = []
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._own_ray, args=(ready, errors), name="ray-owner", daemon=True)
            self._thread.start()
            ready.wait()
            if errors:
                self._thread = None
                raise Unavailable(f"no Ray cluster at {self._place}: {errors[0]}") from errors[0]

    @property
    def runs_elsewhere(self) -> bool:
        """True for a cluster with an address, which is connected; False for one that this process starts."""
        return self._address is not None

    def start_connecting(self) -> None:
        """Connects or starts in a thread; `connect` waits for it, and tries again where it failed."""
        if is_installed("ray"):
            import ray  # noqa: F401  (here, so that no two threads import it at once)

            threading.Thread(target=self._connect_quietly, name="ray-start", daemon=True).start()

    def close(self) -> None:
        """Disconnects, and stops the cluster where this object started it."""
        with self._lock:
            if self._thread is not None:
                self._stop.set()
                self._thread.join(timeout=30)
                self._thread = None

    def _connect_quietly(self) -> None:
        with contextlib.suppress(Exception):  # whoever needs the cluster gets the error
            self.connect()

    @property
    def _place(self) -> str:
        return self._address or "this machine"

    def _prepare_environment(self) -> None:
        for name, value in _BEFORE_START.items():
            os.environ.setdefault(name, value)
        if self._own:
            use_token()
        logging.getLogger("ray").setLevel(logging.ERROR)
        if self._address is None:
            # With it, every worker would compile its imports anew: 6 s each instead of 1.6.
            os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def check_address(self) -> None:
        """Raises Unavailable if no process listens at the address, for which Ray itself would wait a minute."""
        error = find_connect_error(self._address or "")
        if error is not None:
            raise Unavailable(f"no Ray cluster at {self._place}: {error}; {START_REMEDY}")

    def _own_ray(self, ready: threading.Event, errors: list[Exception]) -> None:
        import ray

        try:
            self._init_ray()
        except Exception as error:
            errors.append(error)
            return
        finally:
            ready.set()
        self._stop.wait()
        ray.shutdown()

    def _init_ray(self) -> None:
        import ray

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                ray.init(
                    address=self._address or "local",
                    num_cpus=None if self._address else self._num_cpus,
                    include_dashboard=None if self._address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                )
                return
            except Exception as error:
                ray.shutdown()
                if self._address is not None or attempt == _ATTEMPTS:
                    raise
                # A node has 30 s to start, hard-coded in Ray: a busy machine can miss it.
                LOG.warning("Ray did not start on this machine (%s); attempt %d of %d", error, attempt + 1, _ATTEMPTS)
