"""Each container of a stack dies once while a job runs, and the job finishes."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.kill_scene import allowed_training, enrolled_at
from client import ordering
from client.context import Party
from client.stack_access import read_endpoints, read_trust_settings, stated_environment
from tests.conftest import Say
from tests.deploy.containers.kills import die_during_a_job
from tests.deploy.containers.stack import Project

pytestmark = pytest.mark.timeout(600)

VICTIMS = (
    "enclave", "trainer", "launcher", "paramserver", "rabbitmq", "ingest", "postgres", "attestation", "witness",
    "redis", "query", "query-worker",
)  # fmt: skip
PATIENCE_SECONDS = 4.0
"""Into the job: its enclaves are there, or about to be."""


@dataclass(frozen=True)
class Scene:
    """A stack, and an owner who may order many jobs on it."""

    project: Project
    owner: Party
    training: ordering.Training


@pytest.fixture(scope="module")
def scene(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place: Path = tmp_path_factory.mktemp("parties")
    trust, environment = read_trust_settings(project.state), stated_environment(project.state)
    parties = enrolled_at(read_endpoints(project.state), trust, place, environment=environment)
    return Scene(project, parties["owner"], allowed_training(parties, place, 3 * len(VICTIMS)))


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_job_finishes_although_a_container_dies(scene: Scene, victim: str, say: Say) -> None:
    def find() -> str:
        found = scene.project.enclaves() if victim == "enclave" else scene.project.containers(victim)
        assert found, f"no {victim} runs"
        return found[0]

    death = die_during_a_job(scene.owner, scene.training, victim, find, PATIENCE_SECONDS)
    say(str(death))
    assert death.end.state == "finished"
    scene.project.await_health()
