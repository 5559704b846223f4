"""Where state lives and how its parts are reached: the one settings object.

Every field is read from an environment variable with the prefix ``FEEDWRIGHT_``
(for example ``FEEDWRIGHT_DATABASE_URL``) or from a ``.env`` file in the working
directory. What tunes the feed itself (weights, thresholds) is in the profile,
not here: see ``models/profile/schema.py``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, HttpUrl, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REMEMBERED = "settings.env"
"""File in <home> with the choices that the program made itself, such as the profile."""


class Settings(BaseSettings):
    """Connection settings. Paths are absolute once loaded; ports are TCP on ``host``."""

    model_config = SettingsConfigDict(
        env_prefix="FEEDWRIGHT_", env_file=".env", extra="ignore", frozen=True
    )

    home: Path = Field(
        default=Path(".feedwright"),
        description="Folder that holds all state of this installation.",
    )
    profile: str = Field(
        default="marketplace",
        description="Name of a profile that ships, or the path of a YAML file.",
    )
    database_url: str | None = Field(
        default=None,
        description="Postgres to use, as postgresql://user:password@host/name. "
        "Empty: the embedded server.",
    )
    lake_url: str | None = Field(
        default=None,
        description="Any fsspec address for the interaction lake. Empty: <home>/lake.",
    )
    mlflow_url: HttpUrl | None = Field(
        default=None,
        description="MLflow server to use. Empty: the one that `feedwright up` starts.",
    )
    mlflow_public_url: HttpUrl | None = Field(
        default=None,
        description="Where people open MLflow's pages, for links. Empty: where programs call it.",
    )
    dagster_url: HttpUrl | None = Field(
        default=None,
        description="Dagster's webserver to call. Empty: the one that `feedwright up` starts.",
    )
    dagster_public_url: HttpUrl | None = Field(
        default=None,
        description="Where people open Dagster's pages, for links on /admin and in alerts. Empty: "
        "where programs call it.",
    )
    feed_url: HttpUrl | None = Field(
        default=None,
        description="The feed that the command line asks. Empty: the one that `feedwright up` "
        "starts.",
    )
    api_key: str | None = Field(
        default=None, description="Key by which the command line asks it, where it wants one."
    )
    artifacts_url: str | None = Field(
        default=None,
        description="Where MLflow keeps artifacts (s3://…, gs://…). Empty: <home>/artifacts.",
    )
    host: str = Field(default="127.0.0.1", description="Address that servers listen on.")
    feed_port: int = Field(default=3000, ge=1, le=65535)
    dagster_port: int = Field(default=3001, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    feed_workers: int = Field(default=2, ge=1, description="Processes that answer the feed.")
    model_name: str = Field(default="feedwright", description="Registered model in MLflow.")
    model_poll_seconds: float = Field(
        default=1.0, gt=0, description="How often a worker looks for a moved alias."
    )
    feed_lists_mb: int = Field(
        default=1024,
        ge=16,
        description="Most disk for the feeds that are kept for paging, about 15 kB each.",
    )
    catalogue_poll_seconds: float = Field(
        default=0.5, gt=0, description="How often a worker looks for changes of the catalogue."
    )
    environment: str = Field(
        default="default",
        description="Which environment this is, for flags and experiments that are of one alone: "
        "production, staging, …",
    )
    webhook_url: HttpUrl | None = Field(
        default=None, description="Told of alerts by HTTP POST: a failed run, a rollback, …"
    )
    webhook_secret: str | None = Field(
        default=None, description="Signs what is posted there (HMAC-SHA256). Empty: unsigned."
    )
    run_silence_seconds: float = Field(
        default=60.0, gt=0, description="A pipeline run that gives no sign of life is dead then."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What the feed logs; `debug` has a line for every request."
    )
    otlp_endpoint: HttpUrl | None = Field(
        default=None,
        description="OpenTelemetry collector (OTLP over HTTP) that gets traces. Empty: none.",
    )
    auth: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Who needs a key for the feed's API. auto: everybody but this machine, as "
        "long as the server listens on loopback alone. required: everybody. off: nobody.",
    )
    metrics_public: bool | None = Field(
        default=None,
        description="Whether /metrics needs no key. Empty: not from this machine, while the "
        "server listens on loopback alone; else an admin key.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose web pages may call the API, separated by commas: "
        "https://shop.example,https://www.shop.example. Empty: none.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names by which this server may be called besides loopback's and its own "
        "address, separated by commas: dagster.example,mlflow.example. Dagster's and MLflow's "
        "pages answer to no other, so that no web page can give them one of its own.",
    )
    rate_limit_per_user: int = Field(
        default=120,
        ge=0,
        description="Events a minute of one user, and calls with their token; 0: no limit.",
    )
    rate_limit_per_key: int = Field(
        default=60_000, ge=0, description="Calls and events a minute of one key; 0: no limit."
    )

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        absolute = path.expanduser().resolve()
        code = re.search(r"%[0-9a-fA-F]{2}", str(absolute))
        if code is not None:  # and some of it twice, so that no spelling leads there
            raise ValueError(
                f"{absolute} has {code[0]!r} in it, which MLflow would read as "
                f"{unquote(code[0])!r}: choose a folder without it"
            )
        return absolute

    @field_validator(
        "database_url",
        "lake_url",
        "mlflow_url",
        "mlflow_public_url",
        "dagster_url",
        "dagster_public_url",
        "feed_url",
        "api_key",
        "artifacts_url",
        "webhook_url",
        "webhook_secret",
        "otlp_endpoint",
        "metrics_public",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("database_url", mode="after")
    @classmethod
    def _is_postgres(cls, url: str | None) -> str | None:
        if url is not None and url.partition("://")[0].partition("+")[0] not in (
            "postgresql",
            "postgres",
        ):
            raise ValueError(
                "must start with postgresql:// (Feedwright needs Postgres 15 or newer)"
            )
        return url

    @field_validator("cors_origins", mode="after")
    @classmethod
    def _are_origins(cls, listed: str) -> str:
        for origin in _split(listed):
            parts = urlsplit(origin)
            bare = f"{parts.scheme}://{parts.netloc.lower()}"
            if parts.scheme not in ("http", "https") or not parts.netloc or origin != bare:
                raise ValueError(
                    f"{origin!r} is not an origin: write https://shop.example, without a path"
                )
        return listed

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _are_names(cls, listed: str) -> str:
        for name in _split(listed):
            if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:.]+\]", name):
                raise ValueError(f"{name!r} is not a name: write dagster.example, without a port")
        return listed

    @property
    def allowed_host_names(self) -> tuple[str, ...]:
        """``allowed_hosts``, one by one, in lower case and without the brackets of IPv6."""
        return tuple(name.lower().strip("[]") for name in _split(self.allowed_hosts))

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """``cors_origins``, one by one."""
        return tuple(_split(self.cors_origins))

    @property
    def postgres_dir(self) -> Path:
        """Data folder of the embedded Postgres."""
        return self.home / "postgres"

    @property
    def lake(self) -> str:
        """Address of the interaction lake, without a trailing slash."""
        return (self.lake_url or str(self.home / "lake")).rstrip("/")

    @property
    def artifacts(self) -> str:
        """Address of MLflow's artifacts."""
        return self.artifacts_url or str(self.home / "artifacts")

    @property
    def feed_lists(self) -> Path:
        """Lists that the workers of this machine keep for further pages."""
        return self.home / "serving" / "lists"

    @property
    def snapshots(self) -> Path:
        """Local folder of snapshots that workers memory-map, one folder a model version."""
        return self.home / "snapshots"

    @property
    def logs(self) -> Path:
        """Folder of the log files of the processes that `feedwright up` starts."""
        return self.home / "logs"

    @property
    def feed_address(self) -> str:
        """Where the command line asks the feed, without a trailing slash."""
        return _address(self.feed_url, f"http://{self.host}:{self.feed_port}")

    @property
    def dagster_address(self) -> str:
        """Where programs call Dagster's webserver, without a trailing slash."""
        return _address(self.dagster_url, f"http://{self.host}:{self.dagster_port}")

    @property
    def dagster_public_address(self) -> str:
        """Where people open Dagster's pages, without a trailing slash."""
        return _address(self.dagster_public_url, self.dagster_address)

    @property
    def mlflow_address(self) -> str:
        """Where programs call the MLflow server, without a trailing slash."""
        return _address(self.mlflow_url, f"http://{self.host}:{self.mlflow_port}")

    @property
    def mlflow_public_address(self) -> str:
        """Where people open MLflow's pages, without a trailing slash."""
        return _address(self.mlflow_public_url, self.mlflow_address)


def _address(url: HttpUrl | None, default: str) -> str:
    return default if url is None else str(url).rstrip("/")


def _split(listed: str) -> list[str]:
    return [part.strip() for part in listed.split(",") if part.strip()]


@cache
def get_settings() -> Settings:
    """The settings of this process, read once.

    What the program itself remembered of an installation (``<home>/settings.env``)
    gives way to ``.env``, and that to the environment.

    Raises:
        pydantic.ValidationError: a variable holds a value of the wrong kind.
    """
    remembered = Settings().home / REMEMBERED
    return Settings(_env_file=(remembered, ".env"))


def with_driver(url: str, driver: str = "", *, schema: str | None = None) -> str:
    """Return ``url`` with the SQLAlchemy ``driver`` named, and tables in ``schema``.

    A bare ``postgresql://`` means a different driver to each library, so every
    caller names its own: ``psycopg`` for us, ``psycopg2`` for Dagster and MLflow.
    ``driver=""`` gives the form that libpq itself reads.
    """
    rest = url.partition("://")[2]
    if schema is not None:
        rest += ("&" if "?" in rest else "?") + "options=" + quote(f"-csearch_path={schema}")
    return f"postgresql{'+' if driver else ''}{driver}://{rest}"


def mlflow_tracking_uri(settings: Settings, database_url: str) -> str:
    """Where the pipeline and the command line reach MLflow: its server if one is
    configured, else its tables directly, which needs no server to be up."""
    if settings.mlflow_url is not None:
        return settings.mlflow_address
    return with_driver(database_url, "psycopg2", schema="mlflow")
