"""`make demo`: tunes a model of market turbulence on a Ray cluster on this machine, and registers the winner."""

import asyncio
import sys
from pathlib import Path

import market
import yaml
from rich.console import Console

from optagent import create_optimization_agent, load_settings
from optagent.bootstrap import tracking_uri
from optagent.cli import configure_logging
from optagent.errors import OptAgentError
from optagent.terminal import search_display, show_result

MODEL = Path(__file__).with_name("trading_model_v1.yaml")
TRIALS = 100
OUT = Console()


async def main() -> None:
    settings = load_settings()
    data = market.write(settings.home / "demo")
    OUT.print(f"Daily prices of five shares, 2000-2013, as features: {data}", highlight=False, soft_wrap=True)
    async with await create_optimization_agent(settings, strict=True) as agent:
        fields = yaml.safe_load(MODEL.read_text())
        spec = await agent.register_model({**fields, "data": str(data)})
        with search_display(OUT, f"Tuning {spec.model_id}: {', '.join(spec.families)}, {TRIALS} trials") as display:
            result = await agent.tune_hyperparameters(spec.model_id, trials=TRIALS, timeout_s=240, on_progress=display)
        show_result(OUT, result)
        tracking = tracking_uri(settings)
    OUT.print("\n[bold]Where to look next[/bold]")
    for what, command in (
        ("every trial, and the registry", f".venv/bin/mlflow ui --backend-store-uri {tracking}"),
        ("versions of the model", f".venv/bin/optagent versions {spec.model_id}"),
        ("this run", f".venv/bin/optagent status {result.process_id}"),
        ("another search", f".venv/bin/optagent tune {spec.model_id} --trials 100 --strategy aggressive"),
        ("the Ray dashboard", f"make up; OPT_AGENT_RAY_ADDRESS=auto .venv/bin/optagent tune {spec.model_id}"),
        ("", "and open http://127.0.0.1:8265"),
    ):
        OUT.print(f"  {what:<30} {command}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    configure_logging()
    try:
        asyncio.run(main())
    except OptAgentError as error:
        sys.exit(f"error: {error}")
