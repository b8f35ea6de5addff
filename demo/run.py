"""`make demo`: the whole loop on real market data, through the live endpoint, on this machine.

A model of market turbulence is tuned on the years to 2003 and goes live; then the days from 2004 on are asked of it
over HTTP, a few a second, and labels follow days later. Nobody touches it: a mixture of the champion and of newer
models answers, whose weights follow the labels; as rows come and as the monitor notices decay, the policy has the
models trained again, and what passes the hard gates answers beside the others. At the end all of it is compared with
the frozen champion, and with the best retraining calendar that hindsight can name.
"""

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import market
import pandas as pd
import pyarrow as pa
import requests
import yaml
from calendars import best_calendar
from live import Market
from report import Compared, Moment, write_report
from rich.console import Console

from optagent import create_optimization_agent, load_settings
from optagent.bootstrap import Serving, parts
from optagent.cli import configure_logging
from optagent.domain.audit_chain import ChainReport
from optagent.domain.mixture_status import MixtureStatus
from optagent.domain.process import Process
from optagent.errors import OptAgentError
from optagent.loop.train.load import load_version
from optagent.settings import Settings
from optagent.terminal import search_display, show_result

HERE = Path(__file__).parent
FIRST_LIVE, LAST_LIVE = "2004-01-01", "2010-12-31"
DAY_S = 0.12
POLL_S = 0.5
LAST_S = 60.0  # for processes that still run when the days are over
OUT = Console()


def demo_settings(home: Path | None) -> Settings:
    """The user's settings with a folder and a port of the demo's own, and monitor intervals of a few demo days."""
    from optagent.adapters.cluster.free_ports import free_port

    folder = (home or load_settings().home) / "demo"
    return load_settings(
        home=folder,
        api_port=free_port(8000),
        monitor_every_seconds=2.0,
        supervise_every_seconds=0.5,
        mixture_every_seconds=0.5,
        max_processes=1,
        observations=None,
    )


def model_fields(data: Path) -> dict[str, Any]:
    """The model's fields with every duration in days of the demo's clock."""
    fields = yaml.safe_load((HERE / "trading_model_v1.yaml").read_text())
    return {
        **fields,
        "data": str(data),
        "label_horizon": f"{4 * DAY_S:.2f}s",
        "monitoring": {
            "performance_window_hours": 120 * DAY_S / 3600,  # four months
            "false_alarm_every": f"{20 * 365 * DAY_S:.0f}s",  # one false alarm in 20 years
            "alert_cooldown_minutes": 60 * DAY_S / 60,
            "accuracy_drop_threshold": 0.08,  # of the log-loss
        },
        "policy": {
            "triggers": ["degradation", "concept_drift", "growth"],
            "action": "full",
            "optimization_type": "retrain",
            "answer": "mixture",
            "cooldown": f"{30 * DAY_S:.1f}s",
            "most_a_year": 10_000,
        },
    }


class Timeline:
    """The events of the demo: printed as they happen, and kept for the report."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.moments: list[Moment] = []
        self.day: Callable[[], Any] = lambda: None

    def say(self, kind: str, text: str, evidence: str = "") -> None:
        day = self.day()
        moment = Moment(time.monotonic() - self.began, day, kind, text, evidence)
        self.moments.append(moment)
        when = f"{day:%Y-%m-%d}" if day is not None else " " * 10
        OUT.print(f"[dim]{moment.seconds:5.0f} s[/dim]  {when}  [bold]{kind:<9}[/bold] {text}", soft_wrap=True)


async def main(home: Path | None, last_live: str) -> None:
    settings, timeline = demo_settings(home), Timeline()
    serving = Serving(settings)
    await asyncio.to_thread(forget, serving, settings.home)
    prices = market.prices()
    rows = market.on_the_clock(market.turbulence(prices), FIRST_LIVE, time.time(), DAY_S)
    live = rows[(rows["date"] >= FIRST_LIVE) & (rows["date"] <= last_live)]
    data = market.write(rows[rows["date"] < FIRST_LIVE], settings.home / "turbulence.parquet")
    timeline.say("start", "bringing up Ray, the API and the monitors on this machine")
    up = await asyncio.to_thread(serving.up)
    try:
        async with await create_optimization_agent(settings, strict=True) as agent:
            timeline.say("up", f"{up.api}/docs")
            await show_noise(agent, market.direction(prices), settings, timeline)
            spec = await agent.register_model(model_fields(data))
            with search_display(OUT, f"Tuning {spec.model_id} on 2000-2003") as display:
                first = await agent.tune_hyperparameters(spec.model_id, trials=40, timeout_s=60, on_progress=display)
            show_result(OUT, first)
            await agent.set_alias(spec.model_id, "champion", str(first.version))
            timeline.say("champion", f"version {first.version} is live; nobody touches it from here on")
            text, _ = await agent.create_token(f"demo {time.time():.0f}", ["predict", "label"])
            url = f"{up.api}/api/v1/models/{spec.model_id}"
            await asyncio.to_thread(wait_until_served, url, text, live)
            watched = Market(live, url, text, DAY_S)
            timeline.day = lambda: watched.today
            watched.start()
            await follow(agent, spec.model_id, watched, timeline)
            frozen = frozen_predictions(settings, spec.model_id, str(first.version), rows, watched)
            processes = [process for process in await agent.processes(spec.model_id) if process.kind == "optimize"]
            mixture, chain = await agent.mixture(spec.model_id), await agent.verify_audit()
            calendar = await asyncio.to_thread(best_calendar, rows, watched.answered.row)
            compared = Compared(watched.answered, frozen, calendar)
            path = write_report(Path("demo_report.html"), compared, timeline.moments, processes, mixture)
            show_end(compared, processes, mixture, chain, path)
            OUT.print(
                f"look further: OPT_AGENT_HOME={settings.home} optagent mixture {spec.model_id} | audit list",
                soft_wrap=True,
            )
    finally:
        timeline.say("stop", "taking everything down")
        await asyncio.to_thread(serving.down)


def forget(serving: Serving, home: Path) -> None:
    """Takes down the product of an earlier demo that was killed, and deletes its state."""
    if home.exists():
        serving.down()
        shutil.rmtree(home)


async def show_noise(agent: Any, rows: pd.DataFrame, settings: Settings, timeline: Timeline) -> None:
    """Optimizes a model of tomorrow's direction, which cannot be learned, so that its gates refuse the candidate."""
    data = market.write(rows[rows["date"] < FIRST_LIVE], settings.home / "direction.parquet")
    fields = {"id": "direction_v1", "task": "binary", "target": "up", "time_column": "date", "data": str(data)}
    await agent.register_model({**fields, "label_horizon": "4d", "families": ["lightgbm"]})
    result = await agent.optimize_model("direction_v1", "retrain", gates={"auc_min": 0.55})
    timeline.say("noise", f"next-day direction: {result.status}. {result.error_message or ''}")


def wait_until_served(url: str, token: str, rows: pd.DataFrame) -> None:
    row = rows.iloc[0].drop(["date", "at", "turbulent"]).to_dict()
    until = time.monotonic() + 120
    while True:
        try:
            answer = requests.post(
                f"{url}/predict", json={"row": row}, headers={"Authorization": f"Bearer {token}"}, timeout=10
            )
            if answer.ok:
                return
            message = answer.text
        except requests.RequestException as error:
            message = str(error)
        if time.monotonic() > until:
            raise OptAgentError(f"the model is not served within two minutes: {message}")
        time.sleep(0.5)


async def follow(agent: Any, model_id: str, watched: Market, timeline: Timeline) -> None:
    """Prints the loop's actions until the days are over and nothing is under way."""
    reported: set[str] = set()

    def once(key: str, kind: str, text: str, evidence: str = "") -> None:
        if key not in reported:
            reported.add(key)
            timeline.say(kind, text, evidence)

    ends: float | None = None
    while True:
        for alert in await agent.alerts(model_id):
            once(f"alert {alert.alert_id}", "alert", f"{alert.severity}: {alert.kind}: {alert.message}")
        processes = [item for item in await agent.processes(model_id) if item.kind == "optimize"]
        for process in reversed(processes):
            tell_process(process, once)
        busy = any(not one.status.has_ended for one in processes)
        if watched.ended.is_set():
            ends = ends or time.monotonic() + LAST_S
            if not busy or time.monotonic() > ends:
                return
        await asyncio.sleep(POLL_S)


def tell_process(process: Process, once: Callable[..., None]) -> None:
    key = process.process_id
    once(key, "policy", f"{process.command.get('trigger')}: {process.command.get('reason')}")
    if process.status.has_ended:
        result = process.result or {}
        slots = ", ".join(f"{name}: version {version}" for name, version in (result.get("slots") or {}).items())
        message = process.error or result.get("error_message") or f"new models answer beside the others: {slots}"
        once(f"{key} end", str(result.get("status", process.status)), str(message))


def frozen_predictions(
    settings: Settings, model_id: str, version: str, rows: pd.DataFrame, watched: Market
) -> list[float]:
    """The first champion's probability for every row that was asked."""
    registry = parts.registry(settings)
    predictor = load_version(registry.version(model_id, version), registry)
    asked_rows = rows.loc[watched.answered.row].drop(columns=["at"])
    return [float(value) for value in predictor.probabilities(pa.Table.from_pandas(asked_rows, preserve_index=False))]


def show_end(
    compared: Compared, processes: list[Process], mixture: MixtureStatus, chain: ChainReport, path: Path
) -> None:
    answered = compared.answered
    trainings = sum(len((process.result or {}).get("slots") or {}) for process in processes)
    OUT.print(
        f"\n{len(answered.truth):,} predictions over HTTP, {answered.failed} requests failed; "
        f"{len(processes)} optimizations, {trainings} models trained",
        soft_wrap=True,
    )
    without = compared.loss_without
    OUT.print(f"log-loss, all live days: {without:.4f} without the agent")
    best = f"by the best calendar in hindsight, {compared.calendar.name}"
    for name, loss in ((best, compared.loss_of_calendar), ("with the agent", compared.loss)):
        OUT.print(f"  {loss:.4f} {name} ({100 * (loss - without) / without:+.1f} %)", highlight=False, soft_wrap=True)
    OUT.print(mixture.certificate.words, highlight=False, soft_wrap=True)
    state = "whole" if chain.broken is None else f"broken: {chain.broken}"
    OUT.print(f"audit: {chain.links} links, {state}", highlight=False, soft_wrap=True)
    OUT.print(f"report: {path.absolute()}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="folder of all state; the user's own without")
    parser.add_argument("--until", default=LAST_LIVE, help="the last day that is asked, to 2013")
    configure_logging()
    given = parser.parse_args()
    try:
        asyncio.run(main(given.home, given.until))
    except OptAgentError as error:
        sys.exit(f"error: {error}")
