"""The services of the embedded stack, as tables (side: host).

Before the first service starts, an installation is made: simulated platform, development release of this checkout,
launcher settings, the witness's key. They lie in the state directory and last until `clean`.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from common.crypto.key_file import Identity
from common.enclave.development import launcher_settings, make_development_release, read_development_release
from common.enclave.file_lists import files_beside
from common.identifiers import MrEnclave, PartyKey
from deploy.embedded.earlier_builds import broker_of, predecessors
from deploy.embedded.rabbitmq import amqp_url, rabbitmq_services
from deploy.embedded.redis_server import redis_services, redis_url
from deploy.embedded.specification import ServiceSpec, python_service
from deploy.embedded.state import StateDirectory, write_private

TRAINER_SLOTS = 2
"""Trainers that this machine runs at once: the laptops that this stack is for have at least two cores."""


def brokers(state: StateDirectory) -> list[ServiceSpec]:
    """RabbitMQ and Redis alone: what integration tests of one service need."""
    return [*rabbitmq_services(state), *redis_services(state)]


def attesting(state: StateDirectory) -> list[ServiceSpec]:
    """The attestation service and its witness alone: all that attests launches and releases keys."""
    return _attesting(state, _maker(state))


def whole_stack(state: StateDirectory) -> list[ServiceSpec]:
    """Everything: one witness, one of each service, a trainer worker with two slots, the query service in two parts."""
    return _everything(state)


def direct_stack(state: StateDirectory) -> list[ServiceSpec]:
    """The same with two parameter servers, and frames that go straight from relay to relay."""
    return _everything(state, "paramserver-2", frames="direct")


def _everything(state: StateDirectory, *more_paramservers: str, **more: object) -> list[ServiceSpec]:
    service = functools.partial(_maker(state), **more)
    return [
        *brokers(state),
        *_attesting(state, service),
        service("ingest", "services.ingest.app", open_enrolment=True),
        service("trainer", "services.trainer_enclave.worker", capacity=TRAINER_SLOTS),
        *(service(name, "services.paramserver.worker") for name in ("paramserver", *more_paramservers)),
        service("query", "services.query_enclave.app"),
        service("query-worker", "services.query_enclave.worker"),
    ]


def _attesting(state: StateDirectory, service: Callable[..., ServiceSpec]) -> list[ServiceSpec]:
    return [
        service(
            "attestation",
            "services.attestation.app",
            witnesses=[_party(state, "witness")],
            witness_quorum=1,
            services=[_party(state, "operator")],
            predecessors=list(predecessors(state, _broker(state))),
            leave_behind=state.leave_behind,
        ),
        service("witness", "client.witness", identity=str(_witness_file(state)), poll_seconds=0.5),
    ]


def _maker(state: StateDirectory) -> Callable[..., ServiceSpec]:
    """Makes a service that is told about the installation, which is made now, and about all the others."""
    common = {
        "database_url": f"sqlite:///{state.folder('registry') / 'registry.sqlite'}",
        "amqp_url": amqp_url(state),
        "redis_url": redis_url(state),
        "object_directory": str(state.folder("objects")),
        "artefact_directory": str(state.folder("artefacts")),
        "slot_directory": str(state.folder("slots")),
        "attestation_url": f"http://127.0.0.1:{state.port('attestation')}",
        **_make_installation(state),
    }

    def service(name: str, module: str, *depends_on: str, **more: object) -> ServiceSpec:
        own = {"state_directory": str(state.folder(name)), "worker_name": f"{name}-1"}
        return python_service(state, name, module, {**common, **own, **more}, depends_on)

    return service


def _make_installation(state: StateDirectory) -> dict[str, object]:
    """What every service is told about the installation."""
    make_development_release(state.root)
    launcher = state.settings / "launcher.json"
    write_private(launcher, launcher_settings(state.root).encode())
    release = state.root / "release" / "release.json"
    return {
        "launcher": str(launcher),
        "release_file": str(release),
        "measured_files": str(files_beside(release)),
        "trust_settings_file": str(release.with_name("trust_settings.json")),
        "operator_identity": str(_identity_file(state, "operator")),
    }


def _broker(state: StateDirectory) -> MrEnclave:
    release = read_development_release(state.root)
    if release is None:
        raise RuntimeError("an installation has a release")
    return broker_of(release)


def _identity_file(state: StateDirectory, name: str) -> Path:
    path = state.credentials / f"{name}.json"
    if not path.exists():
        Identity.generate(name, unsafe_simulation=True).write(path)
    return path


def _witness_file(state: StateDirectory) -> Path:
    """The witness's key. Here it lies on the operator's own machine, so it shows the protocol and guards nothing."""
    return _identity_file(state, "witness")


def _party(state: StateDirectory, name: str) -> PartyKey:
    return Identity.read(_identity_file(state, name)).signing_key.party
