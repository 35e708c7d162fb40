"""Promise: several owners' data are used only as all of them and the provider allow; the host learns a public code
alone, each party its own reason, and nobody another's terms.
"""

from pathlib import Path
from typing import Any

import pytest

from common.broker_channel import open_reply
from common.broker_statements import open_refusal_detail
from common.crypto.digests import sha256
from common.errors import AuthenticityError, CloisterError, PolicyError
from common.key_retrieval import renew_lease
from common.messages.broker_exchange import BrokerRequest
from common.messages.jobs import AcceptOrder, ListMembers, Members, OrderAccepted
from common.messages.order import AnswerTerms
from common.messages.refusal_detail import RefusalDetail, Refused
from common.messages.registration import Registered
from common.messages.signed import sign
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, BrokerWorld, Party
from tests.unit.services.attestation.test_registration import next_policy

REFUSING: dict[str, dict[str, Any]] = {
    "nobody but the first": {"first": {"max_jobs": 0}},
    "nobody but the second": {"second": {"max_jobs": 0}},
    "both owners": {"first": {"max_jobs": 0}, "second": {"max_trainers": 1}},
    "all three": {"first": {"max_jobs": 0}, "second": {"max_trainers": 1}, "terms": {"owners": (Party().party,)}},
}


class TwoOwners:
    """A provider's bundle and data of two owners, whose terms are the usual ones with changes."""

    def __init__(self, directory: Path, first: Any = None, second: Any = None, terms: Any = None) -> None:
        self.world, self.second = BrokerWorld(directory), Party()
        self.bundle = self.world.register_bundle(**(terms or {}))
        self.data = [
            self.world.register_data(**(first or {})), self.world.register_data(self.second, **(second or {}))
        ]  # fmt: skip
        order = sign(self.world.order(self.data, self.bundle), self.world.owner.key, self.second.key)
        body = AcceptOrder(order=order, release=self.world.release)
        self.request = BrokerRequest(nonce=bytes(32), body=body).encode()
        self.raw = self.world.handle(self.request)
        self.body = open_reply(self.raw, self.request, self.world.genesis.signing_public).body

    def refused(self) -> Refused:
        assert isinstance(self.body, Refused)
        return self.body

    def told(self, party: Party) -> list[RefusalDetail]:
        """What a party can open of the refusal."""
        found = []
        for sealed in (self.refused().detail, *self.refused().others):
            try:
                found.append(open_refusal_detail(sealed or b"", sha256(self.request), party.party,
                                                 party.identity.report_key))  # fmt: skip
            except AuthenticityError:
                continue
        return found


def test_each_party_is_told_its_own_reason_in_one_answer(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path, **REFUSING["all three"])
    first, second, provider = (job.told(one) for one in (job.world.owner, job.second, job.world.provider))
    assert job.refused().code == "policy.jobs"
    assert [(one.code, one.expected, one.seen) for one in first] == [(None, "at most 0 jobs", "1")]
    assert [(one.code, one.expected, one.seen) for one in second] == [("policy.slots", "1 to 1 trainers", "2")]
    assert [(one.code, one.expected) for one in provider] == [("policy.provider_terms", "owners that the terms name")]
    assert job.told(Party()) == []


def test_a_party_whose_terms_refuse_nothing_learns_the_code_alone(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path, **REFUSING["nobody but the second"])
    for party in (job.world.owner, job.world.provider):
        assert job.told(party) == [RefusalDetail(expected=None, seen=None)]
    assert job.told(job.second)[0].expected == "at most 0 jobs"


def test_the_host_cannot_tell_who_refused_nor_how_many(tmp_path: Path) -> None:
    shapes = set()
    for name, terms in REFUSING.items():
        refused = TwoOwners(tmp_path / name.replace(" ", "-"), **terms).refused()
        assert refused.detail is not None
        shapes.add((refused.code, len(refused.detail), tuple(map(len, refused.others)), len(refused.encode())))
    assert len(shapes) == 1


def test_the_answer_shows_nothing_of_the_terms(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path, **REFUSING["all three"])
    for words in (b"trainers", b"at most", b"owners that", job.second.party.encode(), b"policy.slots"):
        assert words not in job.raw


def test_the_client_reads_its_own_code(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path, **REFUSING["both owners"])
    body = BrokerRequest.decode(job.request).body
    codes = {}
    for name, party in (("first", job.world.owner), ("second", job.second), ("provider", job.world.provider)):
        with pytest.raises(PolicyError) as told:
            job.world.channel(party).ask(body, OrderAccepted)
        codes[name] = (told.value.code, told.value.expected is not None)
    assert codes == {"first": ("policy.jobs", True), "second": ("policy.slots", True),
                     "provider": ("policy.jobs", False)}  # fmt: skip


def test_a_job_needs_all_owners_to_the_end(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path)
    assert isinstance(job.body, OrderAccepted)
    world, job_id = job.world, job.body.job_id
    world.launch(TRAINER, job_id)
    tighter = next_policy(world, job.data[1], job.data[1].policy, max_attempts=1)
    world.channel(job.second).ask(world.policy_update(job.data[1], tighter), Registered)
    with pytest.raises(PolicyError, match="policy.attempts"):
        world.launch(TRAINER, job_id)
    manifest = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.draw(enclave, world.grant(manifest, world.owner))
    both = world.grant(manifest, world.owner, job.second)
    assert world.draw(enclave, both).detail == "scores"
    secret = next_policy(world, job.data[1], tighter, detail="label", max_attempts=1)
    world.channel(job.second).ask(world.policy_update(job.data[1], secret), Registered)
    assert world.draw(enclave, both).detail == "label"
    closed = next_policy(world, job.data[1], secret, users=(Party().party,), max_attempts=1)
    world.channel(job.second).ask(world.policy_update(job.data[1], closed), Registered)
    with pytest.raises(PolicyError, match="policy.user"):
        world.draw(enclave, both)


def test_one_owners_revocation_ends_the_job_for_everybody_at_once(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path)
    assert isinstance(job.body, OrderAccepted)
    world, job_id = job.world, job.body.job_id
    enclaves = [world.launch(role, job_id, slot) for role, slot in ((TRAINER, 0), (TRAINER, 1), (PARAMSERVER, 0))]
    asking = ListMembers(job_id=job_id)
    assert world.channel().ask(asking, Members).state == "running"
    world.revoke(job.second, "dataset", job.data[1].dataset_id)
    assert world.channel().ask(asking, Members).state == "cancelled"
    for enclave in enclaves:
        with pytest.raises(CloisterError):
            renew_lease(world.runtime(enclave.binding.role), world.channel(), enclave)
    with pytest.raises(CloisterError):
        world.launch(TRAINER, job_id)


def test_each_trainer_gets_the_data_of_one_owner(tmp_path: Path) -> None:
    job = TwoOwners(tmp_path)
    assert isinstance(job.body, OrderAccepted)
    for slot, data in enumerate(job.data):
        launch = job.world.launch(TRAINER, job.body.job_id, slot)
        assert {name for name in launch.keys if name.startswith("data/")} == {f"data/{data.dataset_id}"}
        assert launch.keys[f"data/{data.dataset_id}"] == data.key
        assert [one.dataset_id for one in launch.terms.datasets] == [data.dataset_id]
    server = job.world.launch(PARAMSERVER, job.body.job_id)
    assert [one.dataset_id for one in server.terms.datasets] == [data.dataset_id for data in job.data]
    assert not [name for name in server.keys if name.startswith("data/")]


def test_design_code_is_refused_that_would_see_different_profiles(tmp_path: Path) -> None:
    world, second = BrokerWorld(tmp_path), Party()
    bundle = world.register_bundle(sandbox="wasm")
    data = [world.register_data(party, sandboxes=("wasm",)) for party in (world.owner, second)]
    order = sign(world.order(data, bundle, sandbox="wasm"), world.owner.key, second.key)
    with pytest.raises(PolicyError, match="policy.shards") as told:
        world.accept(order)
    assert told.value.expected == "the same data in each slot, for design code"
    world.accept(sign(world.order(data[0], bundle, sandbox="wasm"), world.owner.key))


@pytest.mark.parametrize("shards", [(), ((0, 1), (0,)), ((0,), (0, 1)), ((0, 1), (0, 1))])
def test_data_of_two_owners_never_meet_in_an_enclave(tmp_path: Path, shards: tuple[tuple[int, ...], ...]) -> None:
    world, second = BrokerWorld(tmp_path), Party()
    data = [world.register_data(), world.register_data(second)]
    order = sign(world.order(data, world.register_bundle(), shards=shards), world.owner.key, second.key)
    with pytest.raises(PolicyError, match=r"policy\.shards"):
        world.accept(order)
    own = [data[0], world.register_data()]
    alone = sign(world.order(own, world.register_bundle(), shards=((0,), (0, 1))), world.owner.key)
    assert world.accept(alone).trainers == 2, "of one owner they may"


def test_the_host_cannot_deal_the_data_otherwise(tmp_path: Path) -> None:
    """Shards are in what all owners signed."""
    world, second = BrokerWorld(tmp_path), Party()
    data = [world.register_data(), world.register_data(second)]
    order = world.order(data, world.register_bundle())
    signed = sign(order, world.owner.key, second.key)
    turned = order.model_copy(update={"shards": ((1,), (0,))}).encode()
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        world.accept(signed.model_copy(update={"payload": turned}))


def test_int8_is_not_judged_for_several_owners(tmp_path: Path) -> None:
    """Its accuracies are of one slot's data, and each owner reads the same report."""
    job = TwoOwners(tmp_path)
    order = job.world.order(job.data, job.bundle)
    int8 = AnswerTerms(lowest="int8", held_out_percent=10)
    schedule = order.schedule.model_copy(update={"quantising_ticks": 100})
    wanted = order.model_copy(update={"answers": int8, "schedule": schedule, "nonce": bytes(range(16))})
    body = AcceptOrder(order=sign(wanted, job.world.owner.key, job.second.key), release=job.world.release)
    with pytest.raises(PolicyError, match=r"policy\.precision"):
        job.world.channel(job.world.owner).ask(body, OrderAccepted)
