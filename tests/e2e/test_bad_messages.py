"""What a hostile or broken client sends past the SDK: each is refused by name, and nothing is lost by it."""

import secrets
from pathlib import Path

import pytest

from client import events as e
from client import ordering, owner
from client.broker import BrokerLink
from client.digits import DigitsFiles
from client.http_client import ServiceClient
from client.objects import leaf_path, read_reference
from client.policy_terms import PolicyTerms, sign_policy, wrap_policy
from client.scheduling import plan_schedule
from client.services import IngestService
from common.crypto import KeyRing, SigningKey
from common.crypto.digests import sha256_raw
from common.crypto.wrapping import wrap_ring
from common.errors import AuthenticityError, FormatError, NotFoundError, QuotaError, Refusal
from common.identifiers import JobId
from common.key_binding import data_key_info
from common.messages.objects import DatasetManifest
from common.messages.order import TrainingOrder
from common.messages.registration import RegisterDataset
from common.messages.registration import Registered as BrokerRegistered
from common.messages.signed import Signed, sign
from common.sealed_object import CHUNK_BYTES, ObjectHeader, ObjectKind
from tests.e2e.conftest import TINY, MakeParty, Published, Registered, RunningStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.usefixtures("many_jobs")]


def test_an_upload_over_quota_is_refused_before_a_byte_is_sent(make_party: MakeParty) -> None:
    header = ObjectHeader(ObjectKind.DATASET, CHUNK_BYTES, 16_384, secrets.token_bytes(32)).encode()
    with pytest.raises(QuotaError, match="quota.bytes") as caught:
        IngestService.of(make_party("greedy")).begin_upload(header, bytes(32 * 16_384))
    assert caught.value.http_status == 413


def test_a_chunk_that_changes_on_the_way_is_refused_and_the_upload_goes_on(
    make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    party, sealed = make_party("owner"), tmp_path / "sealed"
    e.outcome(owner.seal(party, digits.train, sealed), e.Sealed)
    reference, ingest = read_reference(sealed), IngestService.of(party)
    leaves = [leaf_path(sealed, leaf).read_bytes() for leaf in range(reference.chunk_count + 1)]
    state = ingest.begin_upload(leaves[0], b"".join(map(sha256_raw, leaves[1:])))
    with pytest.raises(Refusal, match=r"conflict.object|authenticity.sealed_object"):
        ingest.put_leaf(state.upload_id, 1, leaves[1][:-1] + bytes([leaves[1][-1] ^ 1]))
    with pytest.raises(Refusal):
        ingest.complete_upload(state.upload_id)
    assert e.outcome(owner.upload(party, sealed), e.DatasetRegistered).bytes_sent == sum(map(len, leaves[1:]))


def test_foreign_ciphertext_and_key_are_not_registered_under_another_policy(
    registered: Registered, make_party: MakeParty, tmp_path: Path
) -> None:
    """The thief has the ciphertext and the victim's wrapped key, and signs a policy that allows him everything."""
    victim, thief, reference = registered.party, make_party("thief"), read_reference(tmp_path / "sealed")
    broker, victims_policy = victim.trust.broker, victim.document("policies", reference.root)
    assert victims_policy is not None
    of_victim = victim.identity.signing_key
    manifest = sign(DatasetManifest(owner=of_victim.party, parts=(reference,), policy=victims_policy.digest), of_victim)
    wrapped = wrap_ring(
        KeyRing({"data": victim.object_key(reference.root)}),
        broker.wrapping_public,
        data_key_info(manifest.digest, of_victim.party, victims_policy.digest, broker.digest),
    )
    of_thief = thief.identity.signing_key
    policy = sign_policy(thief, PolicyTerms(providers=(of_thief.party,), max_jobs=9))
    forged = sign(DatasetManifest(owner=of_thief.party, parts=(reference,), policy=policy.digest), of_thief)
    body = RegisterDataset(manifest=forged, policy=wrap_policy(thief, policy), data_key=wrapped)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        BrokerLink(thief).ask(body, BrokerRegistered)
    with pytest.raises(NotFoundError, match="not_found.object"):
        BrokerLink(thief, IngestService.of(thief).register_dataset).ask(body, BrokerRegistered)


def signed_order(registered: Registered, published: Published) -> Signed:
    """An order that would be accepted."""
    training = ordering.Training(registered.dataset.dataset_id, published.bundle.bundle_id, 2, TINY)
    return ordering.make_order(registered.party, training, plan_schedule(TINY, published.bundle.state_class))


def test_an_order_that_its_owner_did_not_sign_is_refused(
    registered: Registered, published: Published, make_party: MakeParty
) -> None:
    order, stranger = signed_order(registered, published), make_party("stranger")
    forged = sign(TrainingOrder.decode(order.payload), stranger.identity.signing_key)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        IngestService.of(stranger).submit_order(forged)
    with pytest.raises(Refusal, match=r"policy.signer"):
        IngestService.of(stranger).submit_order(order)


def test_an_order_that_is_sent_twice_is_one_job_and_one_whose_time_is_over_is_none(
    registered: Registered, published: Published
) -> None:
    ingest, order = IngestService.of(registered.party), signed_order(registered, published)
    job_id = ingest.submit_order(order)
    assert ingest.submit_order(order) == job_id == JobId.of(order.digest)
    assert [view.job_id for view in ingest.jobs()] == [job_id]
    ingest.cancel_job(job_id)
    late = TrainingOrder.decode(order.payload).model_copy(update={"not_after": 1_000_000_000})
    with pytest.raises(Refusal, match="freshness.order"):
        ingest.submit_order(sign(late, registered.party.identity.signing_key))


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/datasets", "/v1/bundles", "/v1/uploads"])
def test_malformed_messages_are_refused_by_their_form(make_party: MakeParty, path: str) -> None:
    party = make_party("clumsy")
    http = ServiceClient(party.endpoints.ingest, party.identity.signing_key)
    for body in (b"", b"{", b'{"type":"signed","version":2}', b"\xff" * 100):
        with pytest.raises(FormatError, match=r"format\."):
            http.post(path, body)


def test_unsigned_and_unknown_askers_are_refused(stack: RunningStack) -> None:
    for key in (None, SigningKey.generate()):
        with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
            ServiceClient(stack.endpoints.ingest, key).get("/v1/jobs")
