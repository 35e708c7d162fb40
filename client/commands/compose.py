"""`cloister compose prepare`: what docker-compose.yml needs, made on the operator's machine (side: host)."""

from pathlib import Path

import click

from client.commands.options import Surroundings, party_command
from client.context import Endpoints
from client.events import Noted
from client.measuring import CODE_ROOT
from client.stack_access import ENDPOINTS_FILE
from deploy.compose.preparation import STATE_DIRECTORY, prepare
from deploy.embedded.state import write_private

_PORT = click.IntRange(1, 65_535)


@click.group()
def compose() -> None:
    """The stack in containers (docker-compose.yml)."""


@compose.command("prepare")
@click.option("--attestation-port", type=_PORT, default=8440, show_default=True, help="Published on the loopback.")
@click.option("--ingest-port", type=_PORT, default=8441, show_default=True, help="Likewise.")
@click.option("--query-port", type=_PORT, default=8442, show_default=True, help="Likewise.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=STATE_DIRECTORY,
    show_default=True,
    help="Where secrets and public documents lie.",
)
@party_command("owner")
def prepare_command(
    here: Surroundings, attestation_port: int, ingest_port: int, query_port: int, directory: Path
) -> None:
    """Make passwords, keys, certificates and settings, each once, and .env beside docker-compose.yml."""
    ports = {"attestation": attestation_port, "ingest": ingest_port, "query": query_port}
    files = prepare(directory, CODE_ROOT / ".env", ports)
    endpoints = Endpoints.model_validate({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
    write_private(directory / ENDPOINTS_FILE, endpoints.encode())
    here.run([Noted(text=f"{len(files)} files in {directory}/secrets; docker compose up -d --wait")])
