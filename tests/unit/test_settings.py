"""Settings come from the environment and `.env`, are checked, and never print a secret."""

from pathlib import Path

import pytest

from optagent.errors import InvalidRequest
from optagent.settings import PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)


def test_the_defaults_are_those_of_the_documentation():
    settings = load_settings()
    assert (settings.max_trials, settings.timeout_seconds, settings.early_stopping_rounds) == (100, 3600, 50)
    assert (settings.accuracy_drop_threshold, settings.performance_window_hours) == (0.05, 24)
    assert settings.min_samples_for_retrain == 1000
    assert settings.mlflow_experiment_name == "model_optimization"
    assert settings.redis_url is None


def test_the_environment_wins_over_the_file_and_each_value_says_where_it_came_from(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("OPT_AGENT_MAX_TRIALS=7\nOPT_AGENT_REDIS_DB=3\nOPT_AGENT_LOG_LEVEL=\n")
    monkeypatch.setenv("OPT_AGENT_MAX_TRIALS", "9")
    settings = load_settings(num_cpus=2)
    assert (settings.max_trials, settings.redis_db, settings.log_level) == (9, 3, "WARNING")
    origins = {name: origin for name, _, origin in settings.explained()}
    assert origins["OPT_AGENT_MAX_TRIALS"] == "environment"
    assert origins["OPT_AGENT_REDIS_DB"] == ".env"
    assert origins["OPT_AGENT_NUM_CPUS"] == "given"
    assert origins["OPT_AGENT_HOME"] == "default"


def test_no_secret_is_ever_shown(monkeypatch):
    monkeypatch.setenv("OPT_AGENT_REDIS_HOST", "redis.example.com")
    monkeypatch.setenv("OPT_AGENT_REDIS_PASSWORD", "hunter2/@")
    monkeypatch.setenv("OPT_AGENT_SLACK_WEBHOOK_URL", "https://hooks.example.com/hunter2")
    monkeypatch.setenv("OPT_AGENT_STUDY_STORAGE", "postgresql://me:hunter2@db/x")
    monkeypatch.setenv("OPT_AGENT_MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.example.com")
    settings = load_settings()
    assert "hunter2" not in f"{settings!r}{settings}{settings.explained()}"
    assert ("OPT_AGENT_MLFLOW_TRACKING_URI", "https://me:***@mlflow.example.com", "environment") in settings.explained()
    assert settings.redis_url == "redis://:hunter2%2F%40@redis.example.com:6379/0"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_TRIALS", "0", "OPT_AGENT_MAX_TRIALS: input should be greater than or equal to 1, got '0'"),
        ("MAX_TRIALS", "many", "OPT_AGENT_MAX_TRIALS: input should be a valid integer"),
        ("ACCURACY_DROP_THRESHOLD", "1.5", "OPT_AGENT_ACCURACY_DROP_THRESHOLD: input should be less than 1"),
        ("REDIS_PORT", "70000", "OPT_AGENT_REDIS_PORT: input should be less than or equal to 65535"),
        ("LOG_LEVEL", "loud", r"OPT_AGENT_LOG_LEVEL: unknown level 'loud'; one of \['DEBUG'"),
        ("NOTIFICATION_CHANNELS", "slack,pigeon", "unknown channel pigeon; one of"),
        ("TIMEOUT_SECONDS", "nan", "OPT_AGENT_TIMEOUT_SECONDS"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(monkeypatch, name, value, said):
    monkeypatch.setenv(f"OPT_AGENT_{name}", value)
    with pytest.raises(InvalidRequest, match=said):
        load_settings()


def test_an_unknown_override_lists_the_known_settings():
    with pytest.raises(InvalidRequest, match=r"unknown settings \['max_trial'\]; some of \['accuracy_drop"):
        load_settings(max_trial=3)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().max_trials = 5  # type: ignore[misc]


def test_the_example_file_holds_only_known_settings_with_their_defaults():
    example = Path(__file__).parents[2] / ".env.example"
    lines = [
        line.removeprefix("# ") for line in example.read_text().splitlines() if "OPT_AGENT_" in line and "=" in line
    ]
    names = {line.split("=")[0].removeprefix(PREFIX).lower() for line in lines}
    assert names == set(Settings.model_fields)
