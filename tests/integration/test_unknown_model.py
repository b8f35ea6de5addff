"""A search for a model that nobody has registered ends before the cluster starts."""

from pathlib import Path

import pytest

from optagent import cli
from optagent.adapters.cluster.ray_cluster import RayCluster
from optagent.settings import Settings, load_settings


def test_a_search_for_an_unknown_model_starts_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def refuse(cluster: RayCluster) -> None:
        raise AssertionError("the cluster was started")

    monkeypatch.setenv("OPT_AGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(RayCluster, "start_connecting", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", "nobody"])
    assert (ended.value.code, "nobody" in capsys.readouterr().err) == (2, True)


def test_the_settings_of_a_command_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    readings: list[Settings] = []

    def read() -> Settings:
        readings.append(load_settings())
        return readings[-1]

    monkeypatch.setenv("OPT_AGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("optagent.settings.load_settings", read)
    monkeypatch.setattr("optagent.bootstrap.load_settings", read)
    monkeypatch.setattr(cli, "configure_logging", lambda level: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["models"])
    assert (ended.value.code, len(readings)) == (0, 1)
