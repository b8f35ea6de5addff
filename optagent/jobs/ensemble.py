"""Job for `ray job submit`: `optagent ensemble` on the cluster that runs it."""

from optagent.cli import run_job

if __name__ == "__main__":
    run_job("ensemble")
