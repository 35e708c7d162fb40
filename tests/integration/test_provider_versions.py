"""`cloister provider versions` and `retire` against a real attestation service, over HTTP, as typed."""

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client import provider as operations
from client.broker import BrokerLink
from client.cli import main
from client.context import BundleLabel, Party
from client.policy_terms import ProviderTerms
from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.identifiers import BundleId
from common.messages.objects import ObjectRef
from common.messages.registration import Registered
from tests.integration.attestation_service import Service

MANIFEST = BundleManifest(
    name="net",
    bundle_version="1.0",
    entry="model:Model",
    input=ColumnSpec(column="x", shape=(2,), dtype="float32"),
    label=ColumnSpec(column="y", shape=(), dtype="int64"),
    answer=TensorSpec(shape=(2,), dtype="float32"),
    layout=(StateTensor(name="weight", shape=(3,)),),
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("versions"))
    service.start()
    yield service
    service.kill(signal.SIGTERM)


def publish(party: Party, version: str) -> BundleId:
    """Register a bundle whose ciphertext is nowhere: the key broker never sees it anyway."""
    reference = ObjectRef(root=sha256(secrets.token_bytes(8)), chunk_count=1)
    party.keep_key(reference.root, SecretKey.generate())
    terms = operations.signed_terms(party, reference, ProviderTerms(), party.trust.release.digest)
    publication = operations._publication(party, MANIFEST, reference, terms)
    BrokerLink(party).ask(operations._registration(party, reference, terms, publication), Registered)
    bundle_id = BundleId.of(publication.digest)
    party.keep_label(BundleLabel(bundle_id=bundle_id, root=reference.root, name="net", bundle_version=version))
    return bundle_id


def provider(party: Party, *words: object) -> list[dict[str, Any]]:
    """The events that a command tells, refusals included."""
    shared = ("--json", "--as", party.directory.name, "--home", str(party.directory.parent))
    surroundings = {"CLOISTER_STATE": str(party.directory / "no-stack")}
    result = CliRunner().invoke(main, ["provider", *map(str, words), *shared], env=surroundings)
    return [json.loads(line) for line in result.output.splitlines()]


def test_a_provider_lists_versions_and_retires_one(service: Service, tmp_path: Path) -> None:
    party, other = service.party(tmp_path, "provider"), service.party(tmp_path, "other")
    first, second = publish(party, "1.0"), publish(party, "1.1")

    def states() -> list[tuple[str, str, str]]:
        verified, *listed = provider(party, "versions")
        assert verified["type"] == "log-verified"
        return [(one["bundle_id"], one["bundle_version"], one["state"]) for one in listed]

    assert states() == [(first, "1.0", "in force"), (second, "1.1", "in force")]
    assert provider(other, "versions")[1:] == []
    assert provider(other, "retire", first)[-1]["code"] == "policy.signer"
    ended = provider(party, "retire", first)[-1]
    assert (ended["type"], ended["identifier"], ended["state"]) == ("ended", first, "retired")
    assert ended["log_entry"] > 0
    assert provider(party, "retire", first)[-1] == ended  # said once more, it is proven by the same entry
    assert states() == [(first, "1.0", "retired"), (second, "1.1", "in force")]
    assert provider(party, "retire", "bundle_" + "0" * 32)[-1]["code"] == "not_found.bundle"
