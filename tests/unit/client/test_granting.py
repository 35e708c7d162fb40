"""A grant is written to a new file, and for a model that there still is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.context import Party, PinnedTrust
from client.events import GrantSigned, outcome
from client.granting import GrantTerms, grant
from common.errors import ConflictError, PolicyError
from common.identifiers import JobId, ModelId
from common.messages.objects import ModelManifest
from common.messages.policy import QueryGrant
from common.messages.signed import Signed
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.broker_world import Party as BrokerParty
from tests.fakes.operator import Operator, issued, operating


@dataclass
class Trained:
    """An owner whose model a broker keeps."""

    world: BrokerWorld
    party: Party
    job_id: JobId
    model_id: ModelId


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Trained]:
    world, party = BrokerWorld(tmp_path), Party.create(tmp_path / "owner", "owner", unsafe_simulation=True)
    world.owner = BrokerParty(party.identity)
    job_id = world.start_job()
    manifest = world.finish(job_id)
    model_id = ModelManifest.decode(manifest.payload).model_id
    party.keep_document("models", model_id, manifest)
    with operating(Operator(world, issued(world.platform.pki))) as operator:
        party.pin(
            PinnedTrust(
                endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
            )
        )
        yield Trained(world, party, job_id, model_id)


def test_it_goes_to_a_new_file(trained: Trained, tmp_path: Path) -> None:
    file, user = tmp_path / "grant.json", BrokerParty().party
    told = outcome(grant(trained.party, user, trained.model_id, GrantTerms(5), file), GrantSigned)
    written = file.read_bytes()
    assert QueryGrant.decode(Signed.decode(written).payload).user == told.user == user
    with pytest.raises(ConflictError, match=r"conflict\.grant_file"):
        list(grant(trained.party, user, trained.model_id, GrantTerms(500), file))
    assert file.read_bytes() == written
    assert len(trained.party.documents("grants")) == 1


def test_nobody_is_granted_a_revoked_model(trained: Trained, tmp_path: Path) -> None:
    trained.world.revoke(trained.world.owner, "job", trained.job_id)
    file = tmp_path / "grant.json"
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        list(grant(trained.party, BrokerParty().party, trained.model_id, GrantTerms(5), file))
    assert not file.exists()
    assert trained.party.documents("grants") == []
