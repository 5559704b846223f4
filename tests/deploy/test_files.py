"""deploy/ and docker-compose.yml fit together and fit the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from feedwright.dagster.home import configuration
from feedwright.processes.services import services
from serving.launch import feed_command
from serving.telemetry.metrics import (
    HTTP_REQUESTS,
    LiveVersion,
    NowCollector,
    exposition,
    feed_counter,
    stage_timer,
)
from storage.operations.overview import Overview
from storage.settings import Settings, with_driver
from tests.deploy.compose import (
    DEPLOY,
    DOCKERFILE,
    FILE,
    ROOT,
    SECRETS,
    MissingVariable,
    copies,
    image_environment,
    instructions,
    load,
    ours,
)

DASHBOARD = DEPLOY / "grafana" / "dashboards" / "feed.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
HOME = Path("/var/lib/feedwright")


def expressions() -> list[str]:
    """PromQL of the dashboard and of the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [
        *(target["expr"] for panel in panels for target in panel["targets"]),
        *(rule["expr"] for group in groups for rule in group["rules"]),
    ]


# -- docker-compose.yml ------------------------------------------------------------------


def test_the_compose_file_keeps_to_the_specification():
    # The specification's own, under the Apache License 2.0.
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(FILE.read_text()))
    jsonschema.Draft7Validator(schema).validate(load())


@pytest.mark.needs_docker
def test_docker_itself_accepts_the_compose_file():
    """No engine is needed."""
    command = ["docker", "compose", "--file", str(FILE), "config", "--quiet"]
    subprocess.run(command, env=SECRETS | {"PATH": os.environ["PATH"]}, check=True)


@pytest.mark.parametrize("name", SECRETS)
def test_there_is_no_default_password(name: str):
    with pytest.raises(MissingVariable, match=rf"{name}: copy .*example\.env"):
        load({other: value for other, value in SECRETS.items() if other != name})
    with pytest.raises(MissingVariable, match=name):
        load(SECRETS | {name: ""})


def test_the_example_names_every_variable_and_no_other():
    example = (DEPLOY / "example.env").read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text()))
    assert named == used - {"FEEDWRIGHT_VERSION"}
    assert not re.search(r"^\w*PASSWORD=.", example, re.MULTILINE)


def test_only_the_feed_is_reached_from_outside_and_consoles_by_the_gateway_alone():
    published = {
        name: service["ports"] for name, service in load()["services"].items() if "ports" in service
    }
    assert set(published) == {"feed", "gateway", "prometheus", "grafana"}
    for name, ports in published.items():
        for port in ports:
            assert name == "feed" or port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_images_are_pinned_and_services_are_watched():
    document = load()
    for name, service in document["services"].items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        assert "healthcheck" in service or name == "migrate", name
        assert service["logging"]["options"]["max-size"]
        for other, how in service.get("depends_on", {}).items():
            healthy = "healthcheck" in document["services"][other]
            assert healthy == (how["condition"] == "service_healthy")


def test_volumes_are_declared_and_files_that_are_mounted_exist():
    document = load()
    sources = {
        volume.split(":")[0] for each in document["services"].values()
        for volume in each.get("volumes", [])
    }  # fmt: skip
    assert {source for source in sources if "/" not in source} == set(document["volumes"])
    assert all((ROOT / source).exists() for source in sources if "/" in source)


def test_only_one_address_of_the_database():
    for address in (None, "me@db.example.com:6432/shop"):
        document = load(SECRETS | ({"POSTGRES_ADDRESS": address} if address else {}))
        for name, service in ours(document).items():
            environment = service["environment"]
            if name == "gateway":  # needs none
                continue
            assert environment["PGPASSWORD"] == SECRETS["POSTGRES_PASSWORD"], name
            url = f"postgresql://{address or 'feedwright@postgres:5432/feedwright'}"
            for variable, expected in {
                "FEEDWRIGHT_DATABASE_URL": url,
                "FEEDWRIGHT_DAGSTER_DATABASE_URL": with_driver(url, "psycopg2", schema="dagster")
                + "&application_name=dagster",
                "MLFLOW_BACKEND_STORE_URI": with_driver(url, "psycopg2", schema="mlflow"),
            }.items():
                assert environment.get(variable, expected) == expected, name


def test_what_calls_dagster_or_mlflow_calls_the_gateway_and_links_are_for_browsers():
    for given, dagster, mlflow in (
        ({}, "http://127.0.0.1:3001", "http://127.0.0.1:5000"),
        ({"DAGSTER_PORT": "4001", "MLFLOW_PORT": "4002"}, "http://127.0.0.1:4001", "http://127.0.0.1:4002"),
        ({"FEEDWRIGHT_DAGSTER_PUBLIC_URL": "https://dagster.example"}, "https://dagster.example", "http://127.0.0.1:5000"),
    ):  # fmt: skip
        services = ours(load(SECRETS | given))
        gateway = _settings(services["gateway"])
        assert "gateway" in gateway.allowed_host_names
        for name in ("feed", "pipeline", "daemon", "webserver"):
            settings = _settings(services[name])
            assert settings.dagster_address == f"http://gateway:{gateway.dagster_port}"
            assert settings.mlflow_address == f"http://gateway:{gateway.mlflow_port}"
            assert settings.dagster_public_address == dagster
            assert settings.mlflow_public_address == mlflow


def _settings(service: dict[str, Any]) -> Settings:
    """What the program reads from the service's environment."""
    prefix = "FEEDWRIGHT_"
    given = {
        name.removeprefix(prefix).lower(): value
        for name, value in service["environment"].items()
        if name.startswith(prefix)
    }
    return Settings(_env_file=None, **given)


@pytest.fixture
def short_home() -> Iterator[Path]:
    """Pytest's own folder may have a path that is too long for a socket's."""
    with tempfile.TemporaryDirectory(prefix="feedwright-") as folder:
        yield Path(folder)


def test_the_containers_run_what_the_command_line_runs(short_home: Path):
    settings = Settings(
        _env_file=None, home=short_home, host="0.0.0.0", database_url="postgresql://x"
    )
    document = ours(load())
    _, *feed = feed_command(settings)
    assert document["feed"]["command"][1:] == [
        "/app" if part == str(ROOT) else part for part in feed
    ]
    by_name = {service.name: service for service in services(settings, "postgresql://x")}

    def in_the_image(command: list[str]) -> list[str]:
        return [part.replace(str(short_home), str(HOME)) for part in command]

    _, _, *mlflow = by_name["mlflow"].command
    assert document["mlflow"]["command"] == in_the_image(mlflow)
    for name in ("gateway", "dagster-webserver", "dagster-daemon"):
        _, *command = in_the_image(by_name[name].command)
        code = command.index("-w") if "-w" in command else len(command)
        assert document[name.removeprefix("dagster-")]["command"][1:][:code] == command[:code]
    quiet = {"BENTOML_HOME", "DAGSTER_HOME", "BENTOML_DO_NOT_TRACK"}
    for name, value in image_environment().items():
        known = by_name["feed"].environment.get(name, value)
        assert name in quiet or known in (value, str(short_home)), name


# -- Dagster's files -----------------------------------------------------------------------


def test_dagster_is_configured_as_by_the_command_line():
    file = yaml.safe_load((DEPLOY / "dagster" / "dagster.yaml").read_text())
    assert file == configuration(Settings(_env_file=None, home=HOME))


def test_the_workspace_names_the_pipeline():
    workspace = yaml.safe_load((DEPLOY / "dagster" / "workspace.yaml").read_text())
    server = workspace["load_from"][0]["grpc_server"]
    command = ours(load())[server["host"]]["command"]
    assert ("--port", str(server["port"])) in pairwise(command)


# -- the image -------------------------------------------------------------------------------


def test_what_the_image_copies_exists_and_is_not_ignored():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sources = {source for _, some, _ in copies() for source in some}
    for source in sources:
        assert (ROOT / source).exists(), source
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert "*" in ignored


def test_the_image_installs_by_hash_and_runs_as_an_ordinary_user():
    lines = instructions()
    installs = [rest for _, word, rest in lines if word == "RUN" and "pip install" in rest]
    assert all(
        "--require-hashes" in each or "--no-deps" in each or "$EXTRA_PACKAGES" in each
        for each in installs
    )
    last = lines[-1][0]
    user = [rest for stage, word, rest in lines if (stage, word) == (last, "USER")]
    assert user == ["feedwright"]
    (entry,) = [rest for stage, word, rest in lines if (stage, word) == (last, "ENTRYPOINT")]
    shown = [*json.loads(entry), "sh", "-c", "umask"]
    assert subprocess.check_output(shown, text=True).strip() == "0077"
    assert re.search(r"^FROM python:3\.11\.\d+-slim", DOCKERFILE.read_text(), re.MULTILINE)
    assert not re.search(r"PASSWORD|SECRET|TOKEN", DOCKERFILE.read_text())


def test_every_folder_that_a_volume_covers_belongs_to_the_image():
    """Docker gives a new volume the owner of the folder in the image, root if there is none."""
    text = DOCKERFILE.read_text()
    for service in ours(load()).values():
        for volume in service.get("volumes", []):
            target = Path(volume.split(":")[1])
            assert f"feedwright/{target.relative_to(HOME)}" in text


# -- what watches it ---------------------------------------------------------------------


def test_dashboard_and_alerts_use_metrics_that_the_feed_has():
    feed_counter("heuristic", "no_model").inc(0)
    stage_timer("order").observe(0)
    HTTP_REQUESTS.labels("/api/v1/feed", "GET", "200").inc(0)
    now = NowCollector(
        lambda: [LiveVersion("champion", "1", 2.0, 3.0)],
        lambda: Overview({"running": 1}, 0, 0, 0, 0.0, 0),
    )
    families = list(text_string_to_metric_families(exposition(now).decode()))
    samples = {sample.name for family in families for sample in family.samples}
    samples |= {family.name + "_total" for family in families if family.type == "counter"}
    used = set(re.findall(r"\bfeedwright_\w+", " ".join(expressions())))
    assert used <= samples
    assert used >= {
        "feedwright_feed_requests_total",
        "feedwright_feed_seconds_bucket",
        "feedwright_model_age_seconds",
        "feedwright_model_version_info",
        "feedwright_http_requests_total",
        "feedwright_event_applied_seconds_bucket",
        "feedwright_rollbacks_pending",
    }
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    asked = set(re.findall(r"(?:by|ignoring) \((\w+)\)", " ".join(expressions())))
    assert asked <= labels | {"instance", "status"}


def test_prometheus_scrapes_a_service_that_is_there():
    document = load()
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    }
    found = jobs["feed"]["dns_sd_configs"][0]
    assert [f"{found['port']}"] == [
        port.rpartition(":")[2] for port in document["services"][found["names"][0]]["ports"]
    ]
    for expression in expressions():
        assert set(re.findall(r'job="(\w+)"', expression)) <= set(jobs)


def test_the_expressions_are_promql(tmp_path: Path):
    promtool = shutil.which("promtool")
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    assert all(rule["expr"].count("(") == rule["expr"].count(")") for rule in rules)
    if promtool is None:
        pytest.skip("no promtool: tools/test_programs.sh promtool")
    subprocess.run([promtool, "check", "config", PROMETHEUS], check=True)
    subprocess.run([promtool, "check", "rules", file], check=True)


def test_grafana_finds_its_datasource_and_its_dashboard():
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())
    provider = yaml.safe_load((provisioning / "dashboards" / "feedwright.yaml").read_text())
    grafana = load()["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["providers"][0]["options"]["path"]
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    dashboard = json.loads(DASHBOARD.read_text())
    uids = {
        part["datasource"]["uid"] for panel in dashboard["panels"]
        for part in (panel, *panel["targets"])
    }  # fmt: skip
    assert uids == {source["datasources"][0]["uid"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
