import json
from pathlib import Path

import pytest

from deploy.embedded.installation import missing_packages
from deploy.embedded.specification import base_environment, python_service
from deploy.embedded.state import StateDirectory
from deploy.embedded.status import ServiceStatus, StackStatus, State, overall_state
from deploy.embedded.table import brokers


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.prepare()
    return directory


def test_a_service_gets_its_settings_in_a_file_and_nothing_secret_in_public(state: StateDirectory) -> None:
    secret = state.credential("amqp")
    spec = python_service(state, "ingest", "services.ingest.app", {"amqp_url": secret}, depends_on=("rabbitmq",))
    ((path, content),) = spec.files.items()
    assert json.loads(content) == {"amqp_url": secret, "listen_port": state.ports()["ingest"]}
    assert spec.command[1:] == ("-P", "-m", "services.ingest.app", "--settings", str(path))
    assert secret not in " ".join((*spec.command, *spec.environment.values()))


@pytest.mark.skipif(bool(missing_packages()), reason="RabbitMQ or Redis is not installed")
def test_the_brokers_keep_passwords_in_files(state: StateDirectory) -> None:
    specs = {spec.name: spec for spec in brokers(state)}
    assert list(specs) == ["epmd", "rabbitmq", "redis"]
    assert specs["rabbitmq"].depends_on == ("epmd",)
    passwords = {state.credential("amqp"), state.credential("redis")}
    for spec in specs.values():
        public = " ".join((*spec.command, *spec.environment.values()))
        assert not any(password in public for password in passwords)
    written = b"".join(content for spec in specs.values() for content in spec.files.values()).decode()
    assert all(password in written for password in passwords)


def test_nothing_of_the_callers_environment_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    assert base_environment(tmp_path).keys() == {"PATH", "HOME", "LANG", "TZ"}


def service(state: State) -> ServiceStatus:
    return ServiceStatus(name="x", state=state, pid=1, waiting_for=("y",), restarts=0, ready_since=None)


def test_the_whole_is_ready_when_all_are_and_failed_when_one_is() -> None:
    assert overall_state((service("ready"), service("ready"))) == "ready"
    assert overall_state((service("ready"), service("backing_off"))) == "starting"
    assert overall_state((service("failed"), service("ready"), service("waiting"))) == "failed"


def test_status_survives_its_file_and_names_what_is_missing() -> None:
    status = StackStatus(
        state="starting", guardian_pid=2, started_at=1.5, services=(service("waiting"), service("ready"))
    )
    assert StackStatus.decode(status.encode()) == status
    assert status.waiting == {"x": ("y",)}
