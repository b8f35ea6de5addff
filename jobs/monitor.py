"""Entry point for `ray job submit`: analyze the rows of files in bulk, one performance window a task, on the cluster.

Prints a JSON line a window, in the order of time, and at the end one of the whole range.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import ray

from optagent import create_optimization_agent
from optagent.cli import configure_logging
from optagent.codec import plain
from optagent.domain.model_report import ModelReport
from optagent.errors import OptAgentError


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id of a registered model")
    parser.add_argument("--register", type=Path, help="YAML file of the model, registered first")
    parser.add_argument("--data", required=True, help="file of predictions, or of features that the version answers")
    parser.add_argument("--labels", help="file of labels by id; a column of the target's name is taken as well")
    parser.add_argument("--type", default="full", help="performance, drift, importance, confidence or full")
    parser.add_argument("--range", help="START..END; unset: all rows")
    parser.add_argument("--version", default="champion")
    parser.add_argument("--html", type=Path, help="page with plots of the whole range")
    parser.add_argument(
        "--windows", type=int, default=0, help="analyze this many equal parts of the range, in parallel"
    )
    return parser.parse_args()


async def analyze(given: argparse.Namespace, time_range: Any) -> ModelReport:
    async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
        report = await agent.analyze_files(given.model, given.data, given.labels, given.type, time_range, given.version)
        if given.html is not None and time_range == given.range:
            await agent.draw_report(report, given.html)
        return report


@ray.remote(num_cpus=1)
def part(given: argparse.Namespace, time_range: tuple[float, float]) -> ModelReport:
    return asyncio.run(analyze(given, time_range))


async def main(given: argparse.Namespace) -> None:
    if given.register is not None:
        async with await create_optimization_agent(strict=True, ray_address="auto") as agent:
            await agent.register_model(given.register)
    whole = await analyze(given, given.range)
    assert whole.window is not None
    if given.windows:
        ray.init(address="auto", ignore_reinit_error=True, log_to_driver=False)
        parts = [part.remote(given, (window.start, window.end)) for window in whole.window.parts(given.windows)]
        for report in parts:
            print(json.dumps(plain(await report)), flush=True)
    print(json.dumps(plain(whole)))


from optagent.cli import run_job

if __name__ == "__main__":
    run_job("analyze")
