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
    parser.add_argument("--trials", type=int)
    parser.add_argument("--timeout", type=float, help="time limit in seconds")
    parser.add_argument("--strategy", default="balanced")
    parser.add_argument("--max-concurrent", type=int)
    parser.add_argument("--cpus-per-trial", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
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
            given.max_concurrent,
            given.cpus_per_trial,
            given.seed,
            on_progress=show,
        )
    print(json.dumps(plain(result)))


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(main(arguments()))
    except OptAgentError as error:
        sys.exit(f"error: {error}")
