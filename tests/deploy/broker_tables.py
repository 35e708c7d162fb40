"""RabbitMQ and Redis as docker-compose.yml configures them, as processes of this machine."""

from dataclasses import replace
from pathlib import Path

from deploy.compose.preparation import prepare
from deploy.embedded.probes import amqp_login, redis_ping
from deploy.embedded.rabbitmq import rabbitmq_services
from deploy.embedded.redis_server import redis_services
from deploy.embedded.specification import ServiceSpec
from deploy.embedded.state import StateDirectory
from services.ingest.settings import IngestSettings
from services.query_enclave.settings import FrontSettings

SECRETS = "/run/secrets"


def prepared_of(state: StateDirectory) -> Path:
    """Where the files of the installation lie."""
    return state.root / "prepared" / "secrets"


def localised(state: StateDirectory, text: str) -> str:
    """A configuration or an address as it is on this machine instead of in the containers."""
    places = {
        SECRETS: str(prepared_of(state)),
        SECRETS.replace("/", "%2F"): str(prepared_of(state)).replace("/", "%2F"),
        "rabbitmq:5671": f"localhost:{state.port('amqp')}",
        "ssl.default = 5671": f"ssl.default = 127.0.0.1:{state.port('amqp')}",
        "redis:6379": f"localhost:{state.port('redis')}",
        "tls-port 6379": f"tls-port {state.port('redis')}",
        "dir /data": f"dir {state.folder('redis')}",
        "bind * -::*": "bind 127.0.0.1",
    }
    for container, here in places.items():
        text = text.replace(container, here)
    return text


def address(state: StateDirectory, user: str) -> str:
    """The RabbitMQ or Redis address of a service's settings file, on this machine."""
    path = prepared_of(state) / f"{user}_settings.json"
    url = FrontSettings.read(path).redis_url if user == "query" else IngestSettings.read(path).amqp_url
    return localised(state, url)


def compose_brokers(state: StateDirectory) -> list[ServiceSpec]:
    """Both of them, with TLS and the users of services."""
    prepare(state.root / "prepared", state.root / ".env", {"attestation": 1, "ingest": 2, "query": 3})
    for path in prepared_of(state).iterdir():
        path.chmod(0o600)
    epmd, rabbitmq = rabbitmq_services(state)
    (redis,) = redis_services(state)
    return [epmd, _with(state, rabbitmq, "rabbitmq.conf", "ingest"), _with(state, redis, "redis.conf", "query")]


def _with(state: StateDirectory, spec: ServiceSpec, name: str, user: str) -> ServiceSpec:
    text = localised(state, (prepared_of(state) / name).read_text())
    probe = (redis_ping if user == "query" else amqp_login)(address(state, user))
    files = {path: text.encode() if path.name == name else content for path, content in spec.files.items()}
    return replace(spec, probe=probe, files=files)
