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
    origins = {name: origin for name, _, origin in settings.explain()}
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
    assert "hunter2" not in f"{settings!r}{settings}{settings.explain()}"
    assert ("OPT_AGENT_MLFLOW_TRACKING_URI", "https://me:***@mlflow.example.com", "environment") in settings.explain()
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


MAIL = {
    "smtp_host": "smtp.example.com",
    "email_from": "optagent@example.com",
    "email_to": "ops@example.com, ml+x@example.com,ops@example.com",
}


def test_channels_that_are_configured_are_taken(monkeypatch):
    monkeypatch.setenv("OPT_AGENT_ENABLE_NOTIFICATIONS", "true")
    monkeypatch.setenv("OPT_AGENT_NOTIFICATION_CHANNELS", "Slack, email")
    monkeypatch.setenv("OPT_AGENT_SLACK_WEBHOOK_URL", "https://hooks.example.com/x")
    for name, value in MAIL.items():
        monkeypatch.setenv(f"OPT_AGENT_{name.upper()}", value)
    settings = load_settings()
    assert settings.notification_channels == ("slack", "email")
    assert settings.email_to == ("ops@example.com", "ml+x@example.com")
    assert (settings.smtp_port, settings.smtp_starttls) == (587, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"notification_channels": "slack"}, "slack needs OPT_AGENT_SLACK_WEBHOOK_URL"),
        (
            {"notification_channels": "email"},
            "email needs OPT_AGENT_SMTP_HOST, OPT_AGENT_EMAIL_FROM, OPT_AGENT_EMAIL_TO",
        ),
        ({"notification_channels": "email", **MAIL, "email_to": " , "}, "email needs OPT_AGENT_EMAIL_TO"),
        ({"notification_channels": "email", **MAIL, "smtp_password": "hunter2"}, "SMTP_PASSWORD need each other"),
        ({"notification_channels": "email", **MAIL, "smtp_username": "me"}, "SMTP_PASSWORD need each other"),
        ({}, "ENABLE_NOTIFICATIONS needs OPT_AGENT_NOTIFICATION_CHANNELS or OPT_AGENT_NOTIFICATION_URLS"),
        ({"notification_urls": " , "}, "ENABLE_NOTIFICATIONS needs OPT_AGENT_NOTIFICATION_CHANNELS"),
    ],
)
def test_a_channel_that_is_named_and_not_configured_is_refused_by_name_and_without_a_secret(given, said):
    with pytest.raises(InvalidRequest, match=said) as refused:
        load_settings(enable_notifications=True, study_storage="postgresql://me:hunter2@db/x", **given)
    assert "hunter2" not in str(refused.value)


def test_channels_are_not_asked_for_where_nobody_is_told():
    assert load_settings(notification_channels="slack,email").enable_notifications is False


def test_further_urls_are_separated_by_commas_that_are_no_part_of_them():
    urls = "json://hooks.example.com/?to=a,b, mailtos://me:hunter2@example.com?to=a@b.c,d@e.f,\nntfy://topic"
    settings = load_settings(enable_notifications=True, notification_urls=urls)
    assert settings.further_urls == (
        "json://hooks.example.com/?to=a,b",
        "mailtos://me:hunter2@example.com?to=a@b.c,d@e.f",
        "ntfy://topic",
    )
    assert "hunter2" not in f"{settings!r}{settings.explain()}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("email_from", "nobody", "OPT_AGENT_EMAIL_FROM: must be addresses such as"),
        ("email_from", "a@b\nBcc: c@d", "OPT_AGENT_EMAIL_FROM: must be addresses such as"),
        ("email_to", "a@b, @c", "OPT_AGENT_EMAIL_TO: must be addresses such as"),
        ("smtp_host", "smtp.example.com:25", "OPT_AGENT_SMTP_HOST: must be the name or IPv4 address of a server"),
        ("smtp_host", "a b", "OPT_AGENT_SMTP_HOST: must be the name"),
        ("smtp_port", "0", "OPT_AGENT_SMTP_PORT: input should be greater than or equal to 1"),
        ("smtp_starttls", "perhaps", "OPT_AGENT_SMTP_STARTTLS: input should be a valid boolean"),
        ("notification_urls", "json://a hunter2", "OPT_AGENT_NOTIFICATION_URLS: the URL of place 1 must be"),
        ("notification_urls", "hunter2", "OPT_AGENT_NOTIFICATION_URLS: .*, got a secret"),
    ],
)
def test_a_part_of_a_channel_that_breaks_its_rule_is_refused(name, value, said):
    with pytest.raises(InvalidRequest, match=said) as refused:
        load_settings(**{name: value})
    assert "hunter2" not in str(refused.value)


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
