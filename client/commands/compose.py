"""`cloister compose`: what docker-compose.yml needs, and what its images are made of (side: host, the operator's)."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click

from client.commands.options import Surroundings, party_command
from client.context import Endpoints
from client.events import Noted
from client.measuring import CODE_ROOT
from client.stack_access import ENDPOINTS_FILE
from common.errors import NotFoundError
from deploy.compose import sbom
from deploy.compose.preparation import STATE_DIRECTORY, prepare
from deploy.embedded.state import write_private

_IMAGES = (
    "attestation", "ingest", "installation", "launcher", "paramserver", "query", "query-worker", "trainer", "witness",
)  # fmt: skip
_CONFINED = ("--rm", "--interactive", "--network=none", "--read-only", "--cap-drop=ALL", "--entrypoint=python")
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


@compose.command("sbom")
@click.option("--tag", default="dev", show_default=True, envvar="CLOISTER_TAG", help="Of the images.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("sbom"),
    show_default=True,
    help="Where they are written.",
)
@party_command("owner")
def sbom_command(here: Surroundings, tag: str, directory: Path) -> None:
    """Write down what each image is made of: a CycloneDX document for each, asked of the image itself."""
    directory.mkdir(parents=True, exist_ok=True)
    here.run(_documents(tag, directory))


def _documents(tag: str, directory: Path) -> Iterator[Noted]:
    script = Path(sbom.__file__).read_bytes()
    for name in _IMAGES:
        image = f"cloister/{name}:{tag}"
        command = ["docker", "run", *_CONFINED, image, "-", image]
        done = subprocess.run(command, input=script, capture_output=True, check=False)
        if done.returncode != 0:
            raise NotFoundError("not_found.image", expected=f"the image {image}", seen=done.stderr.decode()[-500:])
        path = directory / f"{name}.cdx.json"
        path.write_bytes(done.stdout)
        yield Noted(text=f"{path}: {len(json.loads(done.stdout)['components'])} components")
