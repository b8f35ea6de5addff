"""Entry point for `ray job submit`: tune one model on the cluster that runs the job, and print the result as JSON."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from optagent import create_optimization_agent
from optagent.cli import configure_logging
from optagent.codec import plain
from optagent.domain.study import Progress
from optagent.errors import OptAgentError
from optagent.terminal import progress_line


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id of a registered model")
    parser.add_argument("--register", type=Path, help="YAML file of the model, registered first")
    parser.add_argument("--method", default="optuna")
    parser.add_argument("--objective", action="append", default=[], help="a metric first, then metrics or costs")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--timeout", type=float, help="time limit in seconds")
    parser.add_argument("--strategy", default="balanced")
    parser.add_argument("--early-stopping", default="asha")
    parser.add_argument("--max-concurrent", type=int)
    parser.add_argument("--cpus-per-trial", type=int, default=1)
    parser.add_argument("--gpus-per-trial", type=int, default=0)
    parser.add_argument("--trial-timeout", type=float, help="time limit of a trial in seconds")
    parser.add_argument("--trial-memory", type=float, help="memory limit of a trial in megabytes")
    parser.add_argument("--max-cpu", type=float, help="most core-seconds of the whole search")
    parser.add_argument("--ensemble", type=int, default=0, help="try an ensemble of so many best trials at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with the last search that did not succeed")
    return parser.parse_args()


def show(progress: Progress) -> None:
    print(progress_line(progress), file=sys.stderr, flush=True)


async def main(given: argparse.Namespace) -> None:
    async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
        if given.register is not None:
            await agent.register_model(given.register)
        result = await agent.tune_hyperparameters(
            given.model,
            given.method,
            given.trials,
            given.timeout,
            given.strategy,
            given.resume,
            on_progress=show,
            objectives=tuple(given.objective),
            stopping=given.early_stopping,
            max_concurrent=given.max_concurrent,
            cpus_per_trial=given.cpus_per_trial,
            gpus_per_trial=given.gpus_per_trial,
            trial_timeout_s=given.trial_timeout,
            trial_memory_mb=given.trial_memory,
            max_cpu_s=given.max_cpu,
            ensemble=given.ensemble,
            seed=given.seed,
        )
    print(json.dumps(plain(result)))


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(main(arguments()))
    except OptAgentError as error:
        sys.exit(f"error: {error}")
