"""`cloister audit reasons` and `cloister provider terms` against the attestation service, over HTTP, as typed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import main
from client.context import Endpoints
from client.context import Party as OwnParty
from common.crypto.key_file import Identity
from common.errors import Refusal
from common.untrusted.database import Database
from common.untrusted.registry import Registry
from tests.fakes.broker_world import MEASUREMENTS, TRAINER, BrokerWorld, Party, SealedBundle
from tests.fakes.log_keeping import identity_directory
from tests.integration.ingest_service import attestation_service, registry_url
from tests.unit.services.attestation.test_reasons import OTHER_CODE

pytestmark = pytest.mark.integration


class Scene:
    """A broker behind its service, and parties with identity directories."""

    def __init__(self, directory: Path, url: str, world: BrokerWorld) -> None:
        self.directory, self.world = directory, world
        self._endpoints = Endpoints(attestation=url, ingest=url, query=url)
        self.own = {name: self.settle(name, getattr(world, name)) for name in ("owner", "provider", "user")}

    def settle(self, name: str, party: Party) -> OwnParty:
        made = identity_directory(self.world, party, self.directory / "home" / name, self._endpoints)
        Registry(Database(registry_url(self.directory))).enrol(party.party, 0)
        return made

    def run(self, *words: object, to_read: bool = False) -> Any:
        shared = ("--home", str(self.directory / "home"), *([] if to_read else ["--json"]))
        surroundings = {"CLOISTER_STATE": str(self.directory / "no-stack")}
        result = CliRunner().invoke(main, [*map(str, words), *shared], env=surroundings)
        return result.output if to_read else [json.loads(line) for line in result.stdout.splitlines()]

    def publish(self, **changes: Any) -> SealedBundle:
        """A bundle of the provider's, as its directory knows it."""
        bundle = self.world.register_bundle(**changes)
        self.own["provider"].keep_document("publications", bundle.bundle_id, bundle.publication)
        self.own["provider"].keep_document("policies", bundle.root, bundle.terms)
        return bundle


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    world = BrokerWorld(tmp_path)
    with attestation_service(tmp_path, world) as url:
        yield Scene(tmp_path, url, world)


def told(scene: Scene, name: str, *more: object) -> list[tuple[Any, Any]]:
    events = scene.run("audit", "reasons", "--as", name, *more)
    assert events[-1]["type"] == "reasons-read", events
    details = [one["reason"]["detail"] for one in events if one["type"] == "reason-told"]
    return [(one["expected"], one["seen"]) for one in details]


def test_each_reads_why_a_launch_was_refused(scene: Scene) -> None:
    world = scene.world
    data = world.register_data(measurements=(OTHER_CODE,))
    job_id, other = world.start_job(data), world.start_job()
    for code, refused, measurement in (
        ("policy.measurement", job_id, MEASUREMENTS["trainer"]),
        ("appraisal.measurement", other, MEASUREMENTS["query"]),
    ):
        with pytest.raises(Refusal, match=code):
            world.launch(TRAINER, refused, measurement=measurement)
    assert told(scene, "owner") == [(f"one of ['{OTHER_CODE}']", MEASUREMENTS["trainer"])]
    assert told(scene, "owner", "--job", other) == []
    assert told(scene, "provider") == [(None, None)]
    assert told(scene, "user") == []
    text = scene.run("audit", "reasons", "--as", "owner", to_read=True)
    for words in (f"refused policy.measurement  {job_id}", "trainer 0", f"expected: one of ['{OTHER_CODE}']",
                  "owner can mend it", "1 of 1 that the key broker keeps"):  # fmt: skip
        assert words in text
    assert "your terms refuse nothing" in scene.run("audit", "reasons", "--as", "provider", to_read=True)
    fresh = Identity.generate("keys", unsafe_simulation=True)
    scene.settle("keys", Party(Identity("keys", world.release_keys[0], fresh.report_key, unsafe_simulation=True)))
    assert told(scene, "keys", "--release") == [(MEASUREMENTS["trainer"], MEASUREMENTS["query"])]
    assert scene.run("audit", "reasons", "--release", "--as", "owner")[-1]["code"] == "policy.release_key"


def test_a_provider_changes_its_terms(scene: Scene, tmp_path: Path) -> None:
    world, bundle = scene.world, scene.publish(answers_total=5)
    file = tmp_path / "terms.yaml"
    file.write_text(f"policy: bundle\nallow: {{owners: [{'a' * 64}]}}\nuntil: 2099-01-01\nanswering: {{answers: 7}}\n")
    [compared] = scene.run("policy", "diff", bundle.bundle_id, file, "--as", "provider")
    assert "answering.answers: 7 instead of 5" in compared["becomes_possible"]
    assert compared["stops"] == [f"allow.owners: all but {'a' * 64}"]
    signed = scene.run("provider", "terms", bundle.bundle_id, "--terms", file)[-1]
    assert (signed["type"], signed["bundle_id"], signed["policy_version"]) == ("policy-signed", bundle.bundle_id, 2)
    terms = world.context.bundle(bundle.bundle_id).terms
    assert (terms.answers_total, terms.owners, terms.releases) == (7, ("a" * 64,), (world.release.digest,))
    [explained] = scene.run("policy", "explain", bundle.bundle_id, "--as", "provider")
    assert any("at most 7 answers" in sentence for sentence in explained["sentences"])
    with pytest.raises(Refusal, match="policy.provider_terms"):
        world.start_job(world.register_data(), bundle)
    assert told(scene, "provider") == [("owners that the terms name", f"['{world.owner.party}']")]
    scene.run("provider", "terms", bundle.bundle_id, "--answers", 9)
    assert world.context.bundle(bundle.bundle_id).terms.policy_version == 3
    assert world.start_job(world.register_data(), bundle)
    assert scene.run("provider", "terms", "bundle_" + "0" * 32)[-1]["code"] == "not_found.bundle"


def test_terms_that_ask_for_approvals(scene: Scene, tmp_path: Path) -> None:
    ann, bob = Party(), Party()
    for name, party in (("ann", ann), ("bob", bob)):
        scene.settle(name, party)
    bundle = scene.publish(approvers=(ann.party, bob.party), approvals_needed=2)
    proposal, approved = tmp_path / "proposal.json", [tmp_path / "ann.json", tmp_path / "bob.json"]
    alone = scene.run("provider", "terms", bundle.bundle_id, "--answers", 9)[-1]
    assert (alone["code"], alone["expected"][:18]) == ("policy.terms_approvals", "signatures of 2 of")
    scene.run("provider", "terms", bundle.bundle_id, "--answers", 9, "--propose", proposal)
    for name, path in (("ann", approved[0]), ("bob", approved[1])):
        explained, to_approve = scene.run("policy", "approve", proposal, "-o", path, "--as", name)
        assert any("at most 9 answers" in sentence for sentence in explained["sentences"])
        assert to_approve["policy_version"] == 2
    words = [word for path in approved for word in ("--approved", path)]
    assert scene.run("provider", "terms", bundle.bundle_id, *words[:2])[-1]["code"] == "policy.terms_approvals"
    assert scene.run("provider", "terms", bundle.bundle_id, *words)[-1]["policy_version"] == 2
    assert scene.world.context.bundle(bundle.bundle_id).terms.answers_total == 9
