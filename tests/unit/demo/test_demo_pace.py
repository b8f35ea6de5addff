"""The pace of a demo: a model on its clock, and settings that reach no server that others use."""

from pathlib import Path

import pytest

from optagent.codec import model_from
from optagent.demo.pace import FAST, WHOLE, DemoPace, demo_settings, model_fields


@pytest.mark.parametrize("pace", [FAST, WHOLE])
def test_the_model_is_one_that_can_be_registered(pace: DemoPace) -> None:
    spec = model_from(model_fields(Path("rows.parquet"), pace))
    assert spec.policy is not None
    assert spec.policy.is_mixed
    assert spec.policy.slots == pace.slots
    assert spec.families == pace.families


def test_a_demo_writes_to_no_server_of_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {
        "REDIS_HOST": "redis.example",
        "MLFLOW_TRACKING_URI": "http://mlflow.example",
        "RAY_ADDRESS": "ray.example:6379",
        "STUDY_STORAGE": "postgresql://db.example/studies",
        "API_HOST": "192.0.2.1",
        "OBSERVATIONS": str(tmp_path / "observations"),
        "ENABLE_NOTIFICATIONS": "true",
        "NOTIFICATION_URLS": "json://example",
    }
    for name, value in shared.items():
        monkeypatch.setenv(f"OPT_AGENT_{name}", value)
    settings = demo_settings(tmp_path / "demo", FAST)
    assert settings.redis_url is None
    assert settings.mlflow_tracking_uri is None
    assert settings.ray_address is None
    assert settings.study_storage is None
    assert settings.observations is None
    assert settings.api_host == "127.0.0.1"
    assert not settings.enable_notifications


def test_two_demos_that_start_at_once_have_two_ports(tmp_path: Path) -> None:
    ports = {demo_settings(tmp_path / name, FAST).api_port for name in "abcd"}
    assert len(ports) > 1
    assert 8000 not in ports
