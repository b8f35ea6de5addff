"""Cluster of a Ray job: the address of the node whose process started this one."""

import psutil

_OPTION = "--gcs-address="


def find_job_cluster() -> str | None:
    """The address (host:port) of the cluster whose node started this process; None outside of a job.

    RAY_ADDRESS names the one that was started last on the machine, whichever runs the job (Ray 2.60, JobSupervisor).
    """
    for process in psutil.Process().parents():
        try:
            arguments = process.cmdline()
        except psutil.Error:
            continue
        for argument in arguments:
            if argument.startswith(_OPTION):
                return argument.removeprefix(_OPTION)
    return None
