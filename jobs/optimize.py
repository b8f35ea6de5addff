"""Entry point for `ray job submit`: run the whole loop for one model on the cluster that runs the job."""

import argparse
import asyncio
import json
import sys

from optagent import create_optimization_agent
from optagent.cli import configure_logging
from optagent.codec import plain
from optagent.domain.optimization import FAILED
from optagent.errors import OptAgentError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id of a registered model")
    parser.add_argument("--type", default="full", help="full, retrain, tune, features, ensemble or auto")
    parser.add_argument("--action", default="candidate", help="candidate, shadow or full")
    parser.add_argument("--strategy", default="balanced")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--timeout", type=float, help="time limit of a search in seconds")
    parser.add_argument("--window", default="auto", help="auto, expanding, sliding, weighted or since_change")
    parser.add_argument("--gates", type=json.loads, default={}, help='JSON, such as {"accuracy_min": 0.7}')
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


async def main(given: argparse.Namespace) -> bool:
    async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
        result = await agent.optimize_model(
            given.model,
            given.type,
            given.action,
            given.strategy,
            trials=given.trials,
            timeout_s=given.timeout,
            window=given.window,
            gates=given.gates,
            seed=given.seed,
        )
    print(json.dumps(plain(result)))
    return result.status != FAILED


if __name__ == "__main__":
    configure_logging()
    try:
        sys.exit(0 if asyncio.run(main(arguments())) else 1)
    except OptAgentError as error:
        sys.exit(f"error: {error}")
