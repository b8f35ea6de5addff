"""Settings: `OPT_AGENT_*` from the environment and `.env`, frozen; only the composition root reads them."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from optagent.domain.duration import seconds
from optagent.domain.retention import DAY_S, RetentionRules, retention_rules
from optagent.domain.source_rules import SourceRules
from optagent.errors import InvalidRequest
from optagent.secret_text import hide_secrets

PREFIX = "OPT_AGENT_"
CHANNELS = ("slack", "email")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_BETWEEN_URLS = re.compile(r"[,\s]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")


class Settings(BaseSettings):
    """Every setting with its default; a value that breaks its rule is refused with its name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("optagent")), description="folder of all local state"
    )

    max_trials: int = Field(100, ge=1, le=100_000, description="trials of a search, unless the call says otherwise")
    timeout_seconds: float = Field(
        3600, ge=1, description="wall time of a search, in seconds, for a command that names no limit"
    )
    early_stopping_rounds: int = Field(50, ge=1, description="rounds without improvement that end a trial")
    row_limit: int = Field(20_000_000, ge=1, description="most rows that are read from one source")

    accuracy_drop_threshold: float = Field(0.05, gt=0, lt=1, description="fall of quality that counts as degraded")
    drift_score_threshold: float = Field(0.1, gt=0, lt=1, description="importance-weighted drift that counts")
    confidence_threshold: float = Field(0.8, gt=0, lt=1, description="probability below which a prediction is unsure")
    performance_window_hours: float = Field(24, gt=0, description="length of the current window, in hours")
    alert_cooldown_minutes: float = Field(60, ge=0, description="least time between two notices of one alert")
    false_alarm_every: str = Field("90d", description="mean time between false alarms where nothing changes")
    observations: Path | None = Field(
        None,
        description="folder of recorded predictions and labels, with hard links, one for all machines; unset: in the "
        "home folder",
    )
    data_roots: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="folders, and URLs such as s3://bucket/rows, of data named over HTTP; unset: home/data"
    )
    source_variables: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="environment variables that a database URL may name over HTTP as ${NAME}; unset: none"
    )
    families_allowed: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="modules, or whole paths, of own families that a model may name over HTTP; unset: none"
    )
    max_backlog: int = Field(1_000_000, ge=1, description="most recorded rows of a model that wait for the archive")
    observations_kept: str = Field(
        "365d",
        description="time that recorded predictions, labels and evidence are kept since they came; whole files go, up "
        "to a month later for a quiet model",
    )
    training_rows_kept: str | None = Field(
        None,
        description="time that labelled rows are kept to learn from; unset: for ever, as replays of gates need them",
    )
    processes_kept: str = Field(
        "365d", description="time that ended processes, and rollouts whose candidate is gone, are kept"
    )
    versions_kept: int = Field(
        100,
        ge=2,
        description="newest versions of a model that are kept, with bundles and references, beside those in use",
    )
    audit_folder: Path | None = Field(
        None, description="folder that the audit log is archived to, one for all machines; unset: in the home folder"
    )
    audit_key_file: Path | None = Field(
        None, description="keys that sign the audit log, the same file for all machines; unset: in the home folder"
    )
    min_samples_for_retrain: int = Field(1000, ge=1, description="fewest labelled rows that a retrain needs")

    ray_address: str | None = Field(
        None, description="Ray cluster: host:port or auto; unset: a cluster on this machine"
    )
    num_cpus: int | None = Field(None, ge=1, description="cores of the Ray cluster on this machine; unset: all")

    redis_host: str | None = Field(None, description="Redis server; unset: the embedded server")
    redis_port: int = Field(6379, ge=1, le=65_535, description="port of redis_host")
    redis_db: int = Field(0, ge=0, description="database number on redis_host")
    redis_username: str | None = Field(None, description="user of redis_host")
    redis_password: SecretStr | None = Field(None, description="password of redis_host")
    redis_tls: bool = Field(False, description="speak TLS to redis_host")
    redis_ca_file: Path | None = Field(
        None, description="certificates that sign redis_host's, as PEM; unset: the system's"
    )
    redis_max_memory_mb: int | None = Field(
        None,
        ge=32,
        description="memory of the embedded server, in megabytes, above which it refuses writes; unset: a quarter of "
        "the machine's",
    )

    study_storage: SecretStr | None = Field(
        None,
        description="trial store: a SQLAlchemy URL, or a Redis URL for Optuna's journal; unset: SQLite in the home "
        "folder",
    )
    mlflow_tracking_uri: str | None = Field(
        None, repr=False, description="MLflow server or database; unset: SQLite in the home folder"
    )
    mlflow_experiment_name: str = Field(
        "model_optimization", min_length=1, description="MLflow experiment of the studies"
    )

    api_host: str = Field("127.0.0.1", min_length=1, description="address that the HTTP API listens on")
    api_port: int = Field(8000, ge=1, le=65_535, description="port of the HTTP API")
    tls_certificate_file: Path | None = Field(
        None, description="certificate chain of the HTTP API, as PEM: with it, api_port speaks TLS only"
    )
    tls_key_file: Path | None = Field(None, description="private key of tls_certificate_file, as PEM, no passphrase")
    gateway_replicas: int = Field(1, ge=1, le=64, description="processes that answer predictions and the API")
    requests_per_minute: int = Field(600, ge=1, description="most API requests of a token a minute, a gateway")
    predictions_per_minute: int = Field(
        1_000_000, ge=1, description="most prediction requests of a token a minute, a gateway"
    )
    max_body_mb: float = Field(10, gt=0, le=1000, description="largest body of a request, in megabytes")
    max_rows: int = Field(10_000, ge=1, description="most rows of a prediction request")
    shadow_backlog: int = Field(10_000, ge=1, description="most rows that wait for a shadow; more are dropped")
    record_backlog: int = Field(100_000, ge=1, description="most rows that wait to be recorded; more are dropped")
    max_processes: int = Field(2, ge=1, description="most queued processes that run at a time")
    max_queued: int = Field(
        1000, ge=1, description="most processes that wait in the queue; what people ask for beyond is refused"
    )
    monitor_every_seconds: float = Field(
        60, gt=0, le=86_400, description="time between two looks of a monitor at its model, and at its policy"
    )
    mixture_every_seconds: float = Field(
        60, ge=0, le=86_400, description="least time between two new weights of a mixture, which may have learned since"
    )
    supervise_every_seconds: float = Field(1, gt=0, le=3600, description="time between two looks at rollouts and queue")

    enable_notifications: bool = Field(False, description="send notifications")
    notification_channels: Annotated[tuple[str, ...], NoDecode] = Field((), description="where to: slack, email")
    slack_webhook_url: SecretStr | None = Field(None, description="Slack incoming webhook")
    smtp_host: str | None = Field(None, description="server that e-mail is sent by")
    smtp_port: int = Field(587, ge=1, le=65_535, description="port of smtp_host; on 465, TLS from the first byte")
    smtp_username: str | None = Field(None, description="user of smtp_host")
    smtp_password: SecretStr | None = Field(None, description="password of smtp_host")
    smtp_starttls: bool = Field(True, description="ask smtp_host for TLS before anything is said")
    email_from: str | None = Field(None, description="address that e-mail comes from")
    email_to: Annotated[tuple[str, ...], NoDecode] = Field((), description="addresses that e-mail goes to")
    notification_urls: SecretStr | None = Field(None, description="further channels: apprise URLs, separated by commas")

    log_level: str = Field("WARNING", description="level of the optagent logger in the command line and in jobs")

    @field_validator(
        "home",
        "observations",
        "redis_ca_file",
        "audit_folder",
        "audit_key_file",
        "tls_certificate_file",
        "tls_key_file",
    )
    @classmethod
    def _expand_path(cls, folder: Path | None) -> Path | None:
        return None if folder is None else folder.expanduser().absolute()

    @field_validator("false_alarm_every")
    @classmethod
    def _is_duration(cls, text: str) -> str:
        seconds(text)
        return text

    @field_validator("observations_kept", "training_rows_kept", "processes_kept")
    @classmethod
    def _is_a_day_or_more(cls, text: str | None) -> str | None:
        if text is not None and seconds(text) < DAY_S:
            raise ValueError("must be a day (1d) or more")
        return text

    @field_validator("log_level")
    @classmethod
    def _check_level(cls, level: str) -> str:
        levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        if level.upper() not in levels:
            raise ValueError(f"unknown level {level!r}; one of {list(levels)}")
        return level.upper()

    @field_validator("notification_channels", mode="before")
    @classmethod
    def _split_channels(cls, channels: Any) -> Any:
        names = channels.split(",") if isinstance(channels, str) else channels
        channel_names = tuple(str(name).strip().lower() for name in names if str(name).strip())
        unknown = sorted(set(channel_names) - set(CHANNELS))
        if unknown:
            raise ValueError(f"unknown channel {', '.join(unknown)}; one of {list(CHANNELS)}")
        return channel_names

    @field_validator("data_roots", "source_variables", "families_allowed", mode="before")
    @classmethod
    def _split_names(cls, names: Any) -> Any:
        parts = names.split(",") if isinstance(names, str) else names
        return tuple(dict.fromkeys(str(name).strip() for name in parts if str(name).strip()))

    @field_validator("data_roots")
    @classmethod
    def _are_places(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if "://" not in root and not Path(root).is_absolute():
                raise ValueError(f"must be absolute folders and URLs, separated by commas, got {root!r}")
            if "@" in root or "?" in root:
                raise ValueError("must be URLs without a login and options, such as s3://bucket/rows")
        return roots

    @field_validator("source_variables")
    @classmethod
    def _are_no_settings(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        own = [name for name in names if name.upper().startswith(PREFIX)]
        if own:
            raise ValueError(f"must not be settings, whose secrets would be sent to a database, got {', '.join(own)}")
        return names

    @field_validator("email_from")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        return None if address is None else _address(address)

    @field_validator("email_to", mode="before")
    @classmethod
    def _addresses(cls, addresses: Any) -> Any:
        names = addresses.split(",") if isinstance(addresses, str) else addresses
        return tuple(dict.fromkeys(_address(str(name)) for name in names if str(name).strip()))

    @field_validator("smtp_host")
    @classmethod
    def _is_host(cls, host: str | None) -> str | None:
        if host is not None and not _HOST.fullmatch(host):
            raise ValueError("must be the name or IPv4 address of a server, without a port")
        return host

    @field_validator("notification_urls")
    @classmethod
    def _are_urls(cls, urls: SecretStr | None) -> SecretStr | None:
        for place, url in enumerate(_urls(urls), 1):
            if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S+$", url):
                raise ValueError(f"the URL of place {place} must be scheme://..., separated from others by commas")
        return urls

    @model_validator(mode="after")
    def _channels_are_configured(self) -> Self:
        if not self.enable_notifications:
            return self
        needs: dict[str, dict[str, object]] = {
            "slack": {"slack_webhook_url": self.slack_webhook_url},
            "email": {"smtp_host": self.smtp_host, "email_from": self.email_from, "email_to": self.email_to},
        }
        for channel in self.notification_channels:
            missing = [f"{PREFIX}{name.upper()}" for name, value in needs[channel].items() if not value]
            if missing:
                raise ValueError(f"{PREFIX}NOTIFICATION_CHANNELS: {channel} needs {', '.join(missing)}")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError(f"{PREFIX}SMTP_USERNAME and {PREFIX}SMTP_PASSWORD need each other")
        if not self.notification_channels and not self.further_urls:
            needed = f"{PREFIX}NOTIFICATION_CHANNELS or {PREFIX}NOTIFICATION_URLS"
            raise ValueError(f"{PREFIX}ENABLE_NOTIFICATIONS needs {needed}")
        return self

    @property
    def further_urls(self) -> tuple[str, ...]:
        """The apprise URLs of `notification_urls`, with their secrets."""
        return _urls(self.notification_urls)

    @property
    def source_rules(self) -> SourceRules:
        """The rules for models and backtests that come over HTTP."""
        roots = self.data_roots or (str(self.home / "data"),)
        return SourceRules(roots, self.source_variables, self.families_allowed)

    @property
    def retention(self) -> RetentionRules:
        """The times and numbers by which the archive, the registry and the store are pruned."""
        return retention_rules(self.observations_kept, self.processes_kept, self.versions_kept, self.training_rows_kept)

    @property
    def redis_url(self) -> str | None:
        """The URL of the configured Redis with its password, or None for the embedded server."""
        if self.redis_host is None:
            return None
        password = f":{quote(self.redis_password.get_secret_value(), safe='')}" if self.redis_password else ""
        login = f"{quote(self.redis_username or '', safe='')}{password}"
        scheme = "rediss" if self.redis_tls else "redis"
        trust = f"?ssl_ca_certs={quote(str(self.redis_ca_file))}" if self.redis_ca_file else ""
        return f"{scheme}://{login}{'@' if login else ''}{self.redis_host}:{self.redis_port}/{self.redis_db}{trust}"

    @model_validator(mode="after")
    def _certificates_are_for_tls(self) -> Self:
        if self.redis_ca_file is not None and not self.redis_tls:
            raise ValueError(f"{PREFIX}REDIS_CA_FILE needs {PREFIX}REDIS_TLS=true: without TLS nothing is verified")
        if self.redis_ca_file is not None and not self.redis_ca_file.is_file():
            raise ValueError(f"{PREFIX}REDIS_CA_FILE: {self.redis_ca_file} is no file")
        return self

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        files = {"TLS_CERTIFICATE_FILE": self.tls_certificate_file, "TLS_KEY_FILE": self.tls_key_file}
        if len({file is None for file in files.values()}) == 2:
            raise ValueError(f"{PREFIX}TLS_CERTIFICATE_FILE and {PREFIX}TLS_KEY_FILE need each other")
        return self

    def explain(self, env_file: Path | str = ".env") -> list[tuple[str, str, str]]:
        """Each setting as (variable, value, origin); secrets are masked."""
        from dotenv import dotenv_values

        in_file = {name.upper() for name, value in dotenv_values(env_file).items() if value}
        in_environment = {name.upper() for name, value in os.environ.items() if value}
        rows = []
        for name in type(self).model_fields:
            variable, value = f"{PREFIX}{name.upper()}", getattr(self, name)
            if variable in in_environment:
                origin = "environment"
            elif variable in in_file:
                origin = str(env_file)
            else:
                origin = "default" if name not in self.model_fields_set else "given"
            rows.append((variable, _shown_value(value), origin))
        return rows


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, `.env` and `overrides`; InvalidRequest names the variable and the rule."""
    unknown = sorted(set(overrides) - set(Settings.model_fields))
    if unknown:
        raise InvalidRequest(f"unknown settings {unknown}; some of {sorted(Settings.model_fields)}")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise InvalidRequest("; ".join(_describe_error(item) for item in error.errors(include_url=False))) from None


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text.strip()):
        raise ValueError("must be addresses such as ops@example.com")
    return text.strip()


def _urls(secret: SecretStr | None) -> tuple[str, ...]:
    text = "" if secret is None else secret.get_secret_value().strip(", \t\n")
    return tuple(_BETWEEN_URLS.split(text)) if text else ()


def _shown_value(value: Any) -> str:
    if value is None:
        return ""
    return hide_secrets(",".join(value) if isinstance(value, tuple) else str(value))


def _describe_error(item: Mapping[str, Any]) -> str:
    rule = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return str(rule)  # a rule of several settings, which it names; the input would be all of them, with secrets
    name = f"{PREFIX}{str(item['loc'][0]).upper()}"
    secret = "SecretStr" in str(Settings.model_fields[str(item["loc"][0])].annotation)
    return f"{name}: {rule[:1].lower()}{rule[1:]}, got {'a secret' if secret else repr(item['input'])}"
