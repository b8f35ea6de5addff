"""Pace of a demo: the days that it lives through, the length of each, and the model's fields on that clock."""

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from optagent.domain.slot import ALL_ROWS, CHAMPION_SLOT, DEFAULT_SLOTS
from optagent.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class DemoPace:
    """The first and the last live day, the seconds of a calendar day, and the size of the first search.

    The days go on after the last one, to `latest_live` at most, until `rows_after` labelled rows have followed the
    first new models: on a busy machine they are trained late. `last_s` bounds the wait for further models that are
    being trained when the days are over. A demo `with_companions` also tries to learn noise, and compares with
    retraining calendars.
    """

    first_live: str
    last_live: str
    latest_live: str
    rows_after: int
    day_s: float
    cooldown_days: int
    trials: int
    search_s: float
    families: tuple[str, ...]
    slots: tuple[str, ...]
    monitor_every_s: float
    last_s: float
    with_companions: bool


WHOLE = DemoPace(
    first_live="2004-01-01",
    last_live="2010-12-31",
    latest_live="2010-12-31",
    rows_after=0,
    day_s=0.12,
    cooldown_days=30,
    trials=40,
    search_s=60.0,
    families=("lightgbm", "xgboost"),
    slots=DEFAULT_SLOTS,
    monitor_every_s=2.0,
    last_s=60.0,
    with_companions=True,
)
FAST = replace(
    WHOLE,
    last_live="2004-09-30",
    rows_after=150,
    day_s=0.04,
    cooldown_days=365,
    trials=3,
    search_s=300.0,
    last_s=0.0,
    families=("lightgbm",),
    slots=(CHAMPION_SLOT, ALL_ROWS, "1/4"),
    with_companions=False,
)


def demo_settings(folder: Path, pace: DemoPace) -> Settings:
    """Settings of this machine alone, whatever the user's own name: a demo must not write to servers that others use.

    The API is on the loopback interface, on any free port: of two demos that start at once, each would find the user's
    port free, and take it many seconds later.
    """
    from optagent.adapters.cluster.free_ports import free_port

    return load_settings(
        home=folder,
        api_host="127.0.0.1",
        api_port=free_port(),
        tls_certificate_file=None,
        tls_key_file=None,
        ray_address=None,
        redis_host=None,
        study_storage=None,
        mlflow_tracking_uri=None,
        observations=None,
        audit_folder=None,
        audit_key_file=None,
        enable_notifications=False,
        monitor_every_seconds=pace.monitor_every_s,
        supervise_every_seconds=0.5,
        mixture_every_seconds=0.5,
        max_processes=1,
    )


def model_fields(data: Path, pace: DemoPace) -> dict[str, Any]:
    """The model's fields with every duration in days of the demo's clock."""
    day_s = pace.day_s
    fields = yaml.safe_load((files("optagent.demo") / "trading_model_v1.yaml").read_text(encoding="utf-8"))
    return {
        **fields,
        "data": str(data),
        "families": list(pace.families),
        "label_horizon": f"{4 * day_s:.2f}s",
        "monitoring": {
            "performance_window_hours": 120 * day_s / 3600,  # four months
            "false_alarm_every": f"{20 * 365 * day_s:.0f}s",  # one false alarm in 20 years
            "alert_cooldown_minutes": 60 * day_s / 60,
            "accuracy_drop_threshold": 0.08,  # of the log-loss
        },
        "policy": {
            "triggers": ["degradation", "concept_drift", "growth"],
            "action": "full",
            "optimization_type": "retrain",
            "answer": "mixture",
            "slots": list(pace.slots),
            "cooldown": f"{pace.cooldown_days * day_s:.1f}s",
            "most_a_year": 10_000,
        },
    }
