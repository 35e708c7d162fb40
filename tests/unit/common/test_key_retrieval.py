"""What a launch refuses of a host that plays broker, or changes what the broker says."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.broker_channel import BrokerChannel
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.signing import SigningKey
from common.crypto.wrapping import wrap, wrap_ring
from common.errors import AppraisalError, AuthenticityError, Refusal
from common.identifiers import BundleId, DatasetId, JobId
from common.key_binding import key_grant_info
from common.key_retrieval import Launch, attest_and_fetch
from common.messages.admission import Admission, Admit, Challenge
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.launch_terms import LaunchTerms
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


class HostileBroker:
    """Signs what the genuine broker would say, changed as a test wants it, with `key` or one of its own."""

    def __init__(
        self, world: BrokerWorld, genuine: LaunchTerms, *, key: SigningKey | None = None,
        placement: Signed | None = None, **changes: Any,
    ) -> None:  # fmt: skip
        self._placement = placement
        self.key, self._world = key or SigningKey.generate(), world
        self._terms, self._changes = genuine, changes

    def ask(self, raw: bytes) -> bytes:
        request = BrokerRequest.decode(raw)
        reply = BrokerReply.decode(Signed.decode(self._world.handle(raw)).payload)
        body = reply.body
        if isinstance(request.body, Admit):
            info = key_grant_info(request.body.binding.report_data())
            public = request.body.binding.wrapping_public
            terms = self._terms.model_copy(update={"attempt": request.body.binding.attempt} | self._changes)
            ring = KeyRing({"job": SecretKey.generate()})
            body = Admission(
                keys=wrap_ring(ring, public, info), terms=wrap(terms.encode(), public, info), placement=self._placement
            )
        return sign(reply.model_copy(update={"body": body}), self.key).encode()


def betrayed(world: BrokerWorld, genuine: LaunchTerms, **changes: Any) -> HostileBroker:
    """The genuine broker's own key, to see that the launch itself checks each part."""
    return HostileBroker(world, genuine, key=world.context.signing_key, **changes)


def fetch(world: BrokerWorld, ask: Callable[[bytes], bytes], job_id: JobId, slot: int = 0) -> Launch:
    return attest_and_fetch(world.runtime("trainer"), BrokerChannel(ask), TRAINER, job_id, slot)


def test_a_launch_gets_keys_terms_and_what_it_said(world: BrokerWorld) -> None:
    job_id = world.start_job()
    launch = fetch(world, world.handle, job_id, 1)
    assert (launch.terms.job_id, launch.terms.role, launch.terms.slot, launch.attempt) == (job_id, "trainer", 1, 1)
    assert launch.order.broker == world.genesis.signing_public
    assert launch.binding.wrapping_public == launch.wrapping_key.public
    assert launch.placement is None


def test_terms_of_a_broker_that_the_order_does_not_name_are_refused(world: BrokerWorld) -> None:
    job_id = world.start_job()
    genuine = fetch(world, world.handle, job_id)
    assert fetch(world, betrayed(world, genuine.terms).ask, job_id).attempt == 2  # nothing changed, nothing refused
    impostor = HostileBroker(world, genuine.terms)
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        fetch(world, impostor.ask, job_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"slot": 1},
        {"attempt": 9},
        {"job_id": JobId("job_" + "0" * 32)},
        {"bundle_id": BundleId("bundle_" + "0" * 32)},
        {"datasets": ()},
    ],
)
def test_terms_that_are_not_this_launchs_are_refused(world: BrokerWorld, changes: dict[str, Any]) -> None:
    job_id = world.start_job()
    genuine = fetch(world, world.handle, job_id)
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        fetch(world, betrayed(world, genuine.terms, **changes).ask, job_id)


def test_an_order_that_its_owners_did_not_sign_is_refused(world: BrokerWorld) -> None:
    job_id = world.start_job()
    genuine = fetch(world, world.handle, job_id)
    thief = SigningKey.generate()
    forged = sign(genuine.order, thief)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        fetch(world, betrayed(world, genuine.terms, order=forged).ask, job_id)


def test_another_data_set_than_the_orders_is_refused(world: BrokerWorld) -> None:
    job_id = world.start_job()
    genuine = fetch(world, world.handle, job_id)
    data = genuine.terms.datasets[0].model_copy(update={"dataset_id": DatasetId("data_" + "0" * 32)})
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        fetch(world, betrayed(world, genuine.terms, datasets=(data,)).ask, job_id)


def test_a_data_set_of_a_stranger_is_refused(world: BrokerWorld) -> None:
    job_id = world.start_job()
    genuine = fetch(world, world.handle, job_id)
    data = genuine.terms.datasets[0]
    stranger = data.manifest.model_copy(update={"owner": SigningKey.generate().party})
    foreign = data.model_copy(update={"manifest": stranger})
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        fetch(world, betrayed(world, genuine.terms, datasets=(foreign,)).ask, job_id)


def test_a_query_enclave_wants_its_own_placement_and_model(world: BrokerWorld) -> None:
    job_id, other_id = world.start_job(), world.start_job()
    world.finish(job_id)
    world.finish(other_id)
    genuine, other = world.launch(QUERY, job_id), world.launch(QUERY, other_id)

    def place(**changes: Any) -> Launch:
        hostile = betrayed(world, genuine.terms, **changes)
        return attest_and_fetch(world.runtime("query"), BrokerChannel(hostile.ask), QUERY, job_id, 0)

    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        place()
    for placement in (genuine.placement, other.placement):  # of another launch
        with pytest.raises(AppraisalError, match="appraisal.placement"):
            place(placement=placement)
    with pytest.raises(AppraisalError, match="appraisal.placement"):
        place(model_manifest=other.terms.model_manifest)
    with pytest.raises(AppraisalError, match="appraisal.placement"):
        place(model_manifest=None)


def test_another_models_placement_is_refused(world: BrokerWorld) -> None:
    """The host answers a query enclave's challenge for model A with one for model B."""
    first, second = world.start_job(), world.start_job()
    world.finish(first)
    world.finish(second)

    def ask(raw: bytes) -> bytes:
        request = BrokerRequest.decode(raw)
        if request.body.type != "issue-challenge":
            return world.handle(raw)
        other = request.model_copy(update={"body": request.body.model_copy(update={"job_id": second})})
        return world.handle(other.encode())

    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        attest_and_fetch(world.runtime("query"), BrokerChannel(ask), QUERY, first, 0)


def test_a_changed_challenge_fails_at_the_broker(world: BrokerWorld) -> None:
    """A host with a key of its own may say what it likes about the challenge: the genuine broker then refuses."""
    job_id, key = world.start_job(), SigningKey.generate()

    def ask(raw: bytes) -> bytes:
        reply = BrokerReply.decode(Signed.decode(world.handle(raw)).payload)
        body = reply.body
        if isinstance(body, Challenge):
            body = body.model_copy(update={"nonce": secrets.token_bytes(32)})
        return sign(reply.model_copy(update={"body": body}), key).encode()

    with pytest.raises(Refusal, match="appraisal.binding"):
        fetch(world, ask, job_id)
