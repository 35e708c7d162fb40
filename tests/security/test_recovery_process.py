"""Recovery with real processes: a machine is gone, another one takes over, and people use the commands."""

import contextlib
import itertools
import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner

from client.broker import BrokerLink
from client.cli import main
from client.context import Party
from client.owner import DATA_KEY
from client.policy_changes import send_policy
from client.policy_terms import NOBODY, PolicyTerms, RecoveryWishes, sign_policy, wrap_policy
from client.revoking import revocation_of
from client.witness import WitnessSettings
from common.crypto.digests import sha256
from common.crypto.key_file import Identity
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.wrapping import wrap_ring
from common.enclave.roles import ROLES, RoleSpec
from common.enclave.simulated_platform import SimulatedPlatform
from common.identifiers import DatasetId, MrEnclave, RoleName
from common.key_binding import data_key_info
from common.messages.broker_identity import Genesis
from common.messages.evidence import TrustLevel
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.reference_values import SgxReferenceValue
from common.messages.registration import RegisterDataset, Registered
from common.messages.revocation import Revoke, Revoked
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import TRAINER, BrokerWorld, SealedData, TestRuntime
from tests.fakes.broker_world import Party as WorldParty
from tests.fakes.installation import Installation
from tests.integration.attestation_service import ROOT, Service
from tests.integration.ingest_service import SECONDS, eventually

PROBE_AS_TRAINER: Final = RoleSpec(role=RoleName("trainer"), entry="tests.fakes.probe_enclave")


@contextlib.contextmanager
def witnessing(directory: Path, identity: Path, service: Service) -> Iterator[Path]:
    """`python -m client.witness`; its settings file."""
    directory.mkdir()
    settings = WitnessSettings(
        state_directory=directory, listen_port=0, attestation_url=service.url, identity=identity, poll_seconds=0.1,
        trust_settings_file=service.installation.state / "release" / "trust_settings.json",
    )  # fmt: skip
    file = directory / "settings.json"
    file.touch(mode=0o600)
    file.write_text(settings.model_dump_json())
    command = [sys.executable, "-P", "-m", "client.witness", "--settings", str(file)]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log)
    try:
        yield file
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


class RemoteWorld(BrokerWorld):
    """Orders and launches at a broker behind HTTP; the machine's quoting key is the simulation's."""

    def __init__(self, service: Service, owner: Party, genesis: Genesis) -> None:
        self.platform = SimulatedPlatform.open(service.installation.state / "platform")
        self.trust, self._genesis, self._link = service.installation.trust, genesis, service.handle
        self.release = Signed.decode((service.installation.state / "release" / "release.json").read_bytes())
        reference = service.installation.release.reference(TRAINER, TrustLevel.SIMULATION)
        assert isinstance(reference, SgxReferenceValue)
        self._trainer = reference.mr_enclave
        self.owner, self.provider = WorldParty(owner.identity), WorldParty()
        self.time = int(time.time())
        self._numbers = itertools.count()

    @property
    def genesis(self) -> Genesis:
        return self._genesis

    def handle(self, raw: bytes) -> bytes:
        return self._link(raw)

    def runtime(self, role: str, measurement: MrEnclave | None = None) -> TestRuntime:
        assert role == TRAINER
        return TestRuntime(self.platform, measurement or self._trainer, self.trust)


def register(party: Party, terms: PolicyTerms) -> SealedData:
    """A data set under a first policy."""
    broker = party.trust.broker
    owner, key, policy = WorldParty(party.identity), SecretKey.generate(), sign_policy(party, terms)
    part = ObjectRef(root=sha256(secrets.token_bytes(8)), chunk_count=1)
    manifest = sign(DatasetManifest(owner=owner.party, parts=(part,), policy=policy.digest), owner.key)
    info = data_key_info(manifest.digest, owner.party, policy.digest, broker.digest)
    data_key = wrap_ring(KeyRing({DATA_KEY: key}), broker.wrapping_public, info)
    body = RegisterDataset(manifest=manifest, policy=wrap_policy(party, policy), data_key=data_key)
    BrokerLink(party).ask(body, Registered)
    party.keep_document("policies", DatasetId.of(manifest.digest), policy)
    return SealedData(owner, key, manifest, policy)


def other_machine(installation: Installation, directory: Path) -> Installation:
    """The same release on another simulated machine of the same maker: what it seals, only it opens."""
    shutil.copytree(installation.state, directory)
    (directory / "platform" / "sealing.secret").write_bytes(secrets.token_bytes(32))
    return Installation(directory, installation.trust, installation.release)


class Scene:
    """An owner, three holders and a witness, before and after the machine of their broker is gone."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.home = directory, directory / "home"
        self.witness = directory / "witness.key"
        Identity.generate("witness", unsafe_simulation=True).write(self.witness)
        guard = Identity.read(self.witness).signing_key.party
        self._rule: dict[str, Any] = {"witnesses": (guard,), "witness_quorum": 1}
        self.installation = Installation.make(directory / "installation", ROLES["broker"], PROBE_AS_TRAINER)
        self.provider, self.kept = WorldParty(), directory / "kept"
        self.retired = directory / "retired.json"

    @contextlib.contextmanager
    def serving(self, name: str, installation: Installation, **settings: Any) -> Iterator[tuple[Service, Path]]:
        """A thawed broker on a machine, and its witness's settings file."""
        service = Service(self.directory / name, installation, **self._rule, **settings)
        service.start()
        (self.directory / "endpoints.json").write_bytes(service.endpoints.encode())
        try:
            with witnessing(self.directory / f"{name}-witness", self.witness, service) as file:
                eventually(lambda: not service.describe().description.frozen, "the witness confirms")
                yield service, file
        finally:
            service.kill(signal.SIGKILL)

    def cloister(self, name: str, *words: object) -> list[dict[str, Any]]:
        """The events that a command of one of the parties tells."""
        shared = ("--as", name, "--home", self.home, "--endpoints", self.directory / "endpoints.json")
        result = CliRunner().invoke(
            main, [str(one) for one in (*words, "--json", *shared)], env={"CLOISTER_STATE": "no"}
        )
        assert result.output, result.exception
        return [json.loads(line) for line in result.output.splitlines()]

    def holders(self, service: Service) -> RecoveryWishes:
        """Ann, Bob and Eve, whose cards the owner keeps; any two of them."""
        parties = [service.party(self.home, name) for name in ("ann", "bob", "eve")]
        for one in parties:
            card = one.directory / "card.json"
            self.cloister(one.directory.name, "recovery", "card", "-o", card)
            self.cloister("owner", "recovery", "add-holder", card)
        return RecoveryWishes(holders=tuple(one.identity.signing_key.party for one in parties), needed=2)

    def package(self, state: Path, dataset_id: DatasetId) -> Path:
        return state / "recovery" / f"{dataset_id}.package"

    def submit(self, dataset_id: DatasetId, *names: str) -> dict[str, Any]:
        """These holders give their shares, the operator submits them; the last event."""
        words: list[object] = ["recovery", "submit", dataset_id, "--retired", self.retired]
        for name in names:
            share = self.home / name / f"{dataset_id}.share"
            told = self.cloister(name, "recovery", "share", dataset_id, "-o", share)
            assert [one["type"] for one in told] == ["quote-verified", "share-given"]
            words += ["--share", share]
        return self.cloister("operator", *words)[-1]


def test_two_of_three_holders_bring_the_key_to_another_machine(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.serving("old", scene.installation) as (old, guarding):
        owner = old.party(scene.home, "owner")
        wishes, release = scene.holders(old), owner.trust.release.digest
        data, deleted = (register(owner, NOBODY.model_copy(update={"recovery": wishes})) for _ in range(2))
        allowed = PolicyTerms(providers=(scene.provider.party,), releases=(release,), max_jobs=2, recovery=wishes)
        list(send_policy(owner, data.dataset_id, sign_policy(owner, allowed, data.policy)))
        before = scene.package(old.state / "broker", deleted.dataset_id).read_bytes()
        BrokerLink(owner).ask(Revoke(revocation=revocation_of(owner, "dataset", deleted.dataset_id)), Revoked)
    shutil.move(old.state / "broker", scene.kept)  # what was mirrored elsewhere: the machine itself is gone
    scene.package(scene.kept, deleted.dataset_id).write_bytes(before)

    with scene.serving("new", other_machine(scene.installation, tmp_path / "elsewhere"), recover_from=scene.kept) as (
        new,
        _,
    ):
        retire = ("--settings", guarding, "--successor", new.url, "-o", scene.retired)
        assert scene.cloister("witness", "witness", "retire", *retire)[0]["broker"] == owner.trust.broker.digest
        [shown] = scene.cloister("ann", "recovery", "show", data.dataset_id)
        assert (shown["needed"], len(shown["holders"]), shown["policy_version"]) == (2, 3, 2)
        assert scene.submit(data.dataset_id, "ann")["code"] == "policy.recovery"
        assert scene.submit(deleted.dataset_id, "ann", "bob", "eve")["code"] == "freshness.recovery"
        misplaced = ("--share", scene.home / "bob" / f"{deleted.dataset_id}.share", "--retired", scene.retired)
        [refused] = scene.cloister("operator", "recovery", "submit", data.dataset_id, *misplaced)
        assert (refused["code"], refused["seen"]) == ("authenticity.recovery_share", wishes.holders[1])
        assert scene.submit(data.dataset_id, "ann", "eve")["type"] == "dataset-recovered"
        new.pin(owner)
        world = RemoteWorld(new, owner, owner.trust.broker)
        world.provider = scene.provider
        launch = world.launch(TRAINER, world.start_job(data, world.register_bundle()))
        assert launch.keys[f"data/{data.dataset_id}"] == data.key
