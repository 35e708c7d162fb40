"""Prepares an installation on Kubernetes: secrets, settings, and one kustomization over all (side: host).

Passwords, keys, certificates and settings are those of the stack in containers (deploy/compose/preparation): services
have the same names there. What differs is said in `adapt`. Secrets stand in files that the kustomization names, which
`kubectl apply -k` makes Secrets of; a change of one restarts who reads it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deploy.compose.preparation import prepare as prepare_files
from deploy.compose.settings import INSTALLATION, PORTS
from deploy.embedded.state import write_private

STATE_DIRECTORY: Final = Path(".cloister-kubernetes")
TREE: Final = Path(__file__).resolve().parent
OVERLAYS: Final = ("simulation", "sgx")
ARTEFACTS: Final = "/var/lib/cloister/artefacts"

_ASKS: Final = ("settings.json", "operator_key.json", "authority.pem")
_SERVES_TLS: Final = ("authority.pem", "{name}.pem", "{name}.key")
SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "attestation": ("settings.json", "authority.pem"),
    "witness": ("settings.json", "witness_key.json"),
    "ingest": _ASKS,
    "trainer": _ASKS,
    "paramserver": _ASKS,
    "query": ("settings.json", "authority.pem"),
    "query-worker": _ASKS,
    "rabbitmq": ("rabbitmq.conf", "rabbitmq_plugins", "rabbitmq_definitions.json", *_SERVES_TLS),
    "redis": ("redis.conf", *_SERVES_TLS),
    "postgres": ("postgres.sql", "postgres_admin", "postgres_hosts", *_SERVES_TLS),
}
"""Who gets which files below /run/secrets."""


def prepare(directory: Path, overlay: str) -> Path:
    """Write all of it; the folder for `kubectl apply -k`. What is secret and there already is kept.

    Raises `ConflictError` (conflict.state_directory) where a directory or file of others is in the way.
    """
    prepare_files(directory, directory / "ports.env", PORTS)
    for path in sorted((directory / "secrets").glob("*_settings.json")):
        settings = adapt(path.name.removesuffix("_settings.json"), json.loads(path.read_bytes()))
        write_private(path, json.dumps(settings, indent=1).encode())
    write_private(directory / "kustomization.yaml", json.dumps(_kustomization(directory, overlay), indent=1).encode())
    return directory


def adapt(service: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A service's settings as pods have them: launchers start processes, and no two pods share a machine's memory."""
    changed = {name: value for name, value in settings.items() if name != "slot_directory"}
    if service == "trainer":
        changed |= {"launcher": f"{INSTALLATION}/launcher.json", "artefact_directory": ARTEFACTS}
    return changed


def _kustomization(directory: Path, overlay: str) -> dict[str, Any]:
    """JSON is YAML."""
    place = os.path.relpath(TREE / "overlays" / overlay, directory.resolve())
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "cloister",
        "resources": [place],
        "secretGenerator": [
            {"name": name, "type": "Opaque", "files": [_source(name, file.format(name=name)) for file in files]}
            for name, files in SECRETS.items()
        ],
    }


def _source(service: str, file: str) -> str:
    return f"{file}=secrets/{service}_settings.json" if file == "settings.json" else f"{file}=secrets/{file}"
