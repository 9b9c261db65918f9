"""docker-compose.yml, as Compose reads it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.deploy.tools import (
    COMPOSE,
    DATABASE,
    ONE_THREAD,
    PASSWORDS,
    ROLE,
    ROOT,
    blocks,
    changed,
    image_user,
    ours,
    page,
    project,
    read_services,
    run_tool,
)


def seconds(duration: str) -> float:
    """Return the seconds of a duration that Compose writes: 1m30s."""
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    parts = re.findall(r"([\d.]+)([hms])", duration)
    assert "".join(number + unit for number, unit in parts) == duration
    return sum(float(number) * units[unit] for number, unit in parts)


def test_compose_accepts_the_file_with_passwords(folder: Path) -> None:
    assert run_tool("docker-compose", "config", "--quiet", cwd=folder) == (0, "")


@pytest.mark.parametrize("missing", PASSWORDS)
def test_compose_refuses_the_file_without_a_password(missing: str, tmp_path: Path) -> None:
    given = {name: word for name, word in PASSWORDS.items() if name != missing}
    code, text = run_tool("docker-compose", "config", "--quiet", cwd=project(tmp_path, **given))
    assert code != 0
    assert missing in text
    assert "set it in .env" in text


SCHEMA = ("--builtin-schema", "vendor.compose-spec")


def test_the_file_conforms_to_the_schema_of_compose() -> None:
    assert run_tool("check-jsonschema", *SCHEMA, COMPOSE).code == 0


@pytest.mark.parametrize("key", ["stop_grace_period", "healthcheck", "depends_on", "services"])
def test_compose_refuses_a_misspelt_key(key: str, tmp_path: Path) -> None:
    broken = changed(COMPOSE, f"{key}:", f"{key}z:", project(tmp_path, **PASSWORDS))
    assert run_tool("check-jsonschema", *SCHEMA, broken).code == 1
    assert run_tool("docker-compose", "config", "--quiet", cwd=tmp_path).code != 0


def test_only_the_dashboard_has_a_port_and_only_on_loopback(services: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in services.items() if s.get("ports")}
    assert set(published) == {"dashboard"}
    assert {port["host_ip"] for port in published["dashboard"]} == {"127.0.0.1"}
    assert not any("network_mode" in service for service in services.values())


def test_a_worker_has_thirty_seconds_to_stop(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        assert seconds(services[name]["stop_grace_period"]) >= 30


def test_services_without_an_end_are_restarted(services: dict[str, Any]) -> None:
    restarted = {name for name, s in services.items() if s.get("restart") == "unless-stopped"}
    assert restarted == {"db", "worker", "worker-gpu", "dashboard"}


def test_every_service_waits_for_the_tables(services: dict[str, Any]) -> None:
    assert services["init"]["depends_on"]["db"]["condition"] == "service_healthy"
    # While the image creates the database, the server answers only on a socket.
    assert "127.0.0.1" in services["db"]["healthcheck"]["test"]
    for name, service in ours(services).items():
        if name != "init":
            condition = service["depends_on"]["init"]["condition"]
            assert condition == "service_completed_successfully", name


def test_passwords_are_in_the_environment_and_nowhere_else(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        env = dict(service["environment"])
        database = env.pop("POSTGRES_PASSWORD" if name == "db" else "PGPASSWORD")
        assert database == PASSWORDS["POSTGRES_PASSWORD"]
        if name == "dashboard":
            assert env.pop("TUNER_PASSWORD") == PASSWORDS["TUNER_PASSWORD"]
        rest = json.dumps(service | {"environment": env})
        for password in PASSWORDS.values():
            assert json.dumps(password)[1:-1] not in rest, name


def test_every_service_uses_the_created_role_and_database(
    services: dict[str, Any],
) -> None:
    mount = services["db"]["volumes"][1]
    assert Path(mount["source"]).name == DATABASE.name
    assert mount["target"].startswith("/docker-entrypoint-initdb.d/")
    assert mount["target"].endswith(".sh")
    assert mount["read_only"] is True
    # The superuser is the image's own, and nobody logs on as it.
    assert not {"POSTGRES_USER", "POSTGRES_DB"} & set(services["db"]["environment"])
    for service in ours(services).values():
        url = make_url(service["environment"]["TUNER_STORAGE"])
        assert (url.host, url.username, url.database, url.password) == ("db", ROLE, ROLE, None)
    assert services["db"]["healthcheck"]["test"][-4:] == ["--username", ROLE, "--dbname", ROLE]


def test_every_service_has_limits(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) >= 2**30, name
        assert 100 <= service["pids_limit"] <= 5000, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["cap_drop"] == ["ALL"], name
    for name, service in ours(services).items():
        (temporary,) = service["tmpfs"]
        path, _, size = temporary.partition(":size=")
        assert path == "/tmp", name  # noqa: S108
        assert size == "256m", name
    # A process for each connection, and some of its own.
    (setting,) = [a for a in services["db"]["command"] if a.startswith("max_connections=")]
    assert services["db"]["pids_limit"] > int(setting.partition("=")[2]) + 100


def test_the_database_outlives_its_container(services: dict[str, Any]) -> None:
    volume, _ = services["db"]["volumes"]
    assert re.fullmatch(r"postgres:18\.\d+-\w+", services["db"]["image"])
    # Up to 17 it was a subfolder; with that mount the image of 18 refuses to start.
    assert (volume["type"], volume["target"]) == ("volume", "/var/lib/postgresql")


def test_every_service_trains_with_one_thread(services: dict[str, Any]) -> None:
    for name, service in ours(services).items():
        assert ONE_THREAD.items() <= service["environment"].items(), name
        assert service["environment"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_no_service_can_become_root(services: dict[str, Any]) -> None:
    for name, service in ours(services).items():
        user = service.get("user", image_user())
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True


def test_only_the_gpu_service_requests_a_gpu(services: dict[str, Any]) -> None:
    def devices(name: str) -> Any:
        resources = services[name].get("deploy", {}).get("resources", {})
        return resources.get("reservations", {}).get("devices", [])

    assert [name for name in services if devices(name)] == ["worker-gpu"]
    (device,) = devices("worker-gpu")
    assert (device["driver"], device["device_ids"]) == ("nvidia", ["0"])
    gpu = services["worker-gpu"]
    assert gpu["profiles"] == ["gpu"]
    assert gpu["environment"]["TUNER_DEVICE"] == "cuda"
    assert gpu["build"]["args"]["TORCH_INDEX"] == "https://pypi.org/simple"
    # Together they take the whole card.
    share = float(gpu["command"][gpu["command"].index("--memory-share") + 1])
    assert share * gpu["deploy"]["replicas"] == 1


def test_the_override_of_the_page_uses_another_gpu(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (project(tmp_path, **PASSWORDS) / "docker-compose.override.yml").write_text(text, "utf-8")
    second = read_services(tmp_path)["worker-gpu1"]
    (device,) = second["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == ["1"]
    assert second["command"][:2] == ["tuner", "worker"]


def test_commands_run_in_the_folder_and_as_the_user_of_the_caller(tmp_path: Path) -> None:
    folder = project(tmp_path, **PASSWORDS)
    with (folder / ".env").open("a") as settings:
        settings.write("HOST_UID=1234\nHOST_GID=2345\n")
    command = read_services(folder)["tuner"]
    (mount,) = command["volumes"]
    assert (mount["source"], mount["target"]) == (str(folder), command["working_dir"])
    assert command["user"] == "1234:2345"


def test_the_page_states_the_connections_that_compose_allows(services: dict[str, Any]) -> None:
    (setting,) = [a for a in services["db"]["command"] if a.startswith("max_connections=")]
    most = int(setting.partition("=")[2])
    text = re.search(r"Compose sets (\d+), for (\d+) processes", page())
    assert text
    assert (int(text[1]), int(text[2])) == (most, (most - 3) // 3)


def test_no_password_is_shipped_or_committed() -> None:
    values = re.findall(r"(?m)^(\w*PASSWORD\w*)=(.*)$", (ROOT / ".env.example").read_text())
    assert dict(values) == dict.fromkeys(PASSWORDS, "''")
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
