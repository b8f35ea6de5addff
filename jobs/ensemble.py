"""Entry point for `ray job submit`: look for an ensemble on the cluster that runs the job, and print the result."""

import argparse
import asyncio
import json
import sys

from optagent import create_optimization_agent
from optagent.cli import configure_logging
from optagent.codec import plain
from optagent.errors import OptAgentError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", required=True, help="a base model, such as churn@champion; repeat")
    parser.add_argument("--method", default="weighted", help="weighted, stacking, voting or auto")
    parser.add_argument("--metric", action="append", default=[], help="the first has to improve; repeat")
    parser.add_argument("--into", help="the model of which it becomes a version; the first base model's without")
    parser.add_argument("--max-latency", type=float, help="most milliseconds of one row")
    parser.add_argument("--max-size", type=float, help="most megabytes")
    parser.add_argument("--max-models", type=int)
    parser.add_argument("--strategy", default="balanced")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


async def main(given: argparse.Namespace) -> None:
    async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
        result = await agent.create_ensemble(
            given.model,
            given.method,
            given.metric,
            given.into,
            max_latency_ms=given.max_latency,
            max_size_mb=given.max_size,
            max_models=given.max_models,
            strategy=given.strategy,
            seed=given.seed,
        )
    print(json.dumps(plain(result)))


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(main(arguments()))
    except OptAgentError as error:
        sys.exit(f"error: {error}")
