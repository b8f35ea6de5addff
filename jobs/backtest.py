"""Entry point for `ray job submit`: replay a model's history under retraining policies on the cluster of the job."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from optagent import create_optimization_agent
from optagent.backtest.run import contenders_from
from optagent.cli import configure_logging
from optagent.codec import plain
from optagent.domain.backtest import start_from
from optagent.errors import OptAgentError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id of a registered model")
    parser.add_argument("--data", help="the history, a file that the job can read; without one the model's data")
    parser.add_argument("--label-delay", required=True, help="how long after its row a label is known, such as 5d")
    parser.add_argument("--policy", default="conservative,balanced,aggressive", help="names and files, by comma")
    parser.add_argument("--start", default="0.3", help="a share of the rows, or a date")
    parser.add_argument("--step", default="24h")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--html", type=Path, help="write a page with plots to this file")
    return parser.parse_args()


async def main(given: argparse.Namespace) -> None:
    policies = contenders_from(given.policy)
    asked = {"start": start_from(given.start), "step": given.step, "seed": given.seed, "trials": given.trials}
    async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
        result = await agent.backtest_model(given.model, given.data, given.label_delay, policies, **asked)
        if given.html is not None:
            await agent.draw_backtest(result, given.html)
    print(json.dumps(plain(result)))


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(main(arguments()))
    except OptAgentError as error:
        sys.exit(f"error: {error}")
