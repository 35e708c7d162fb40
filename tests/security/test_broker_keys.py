"""Promise: of all that the key broker says and stores, the host can read no key and no party's terms."""

import secrets
from pathlib import Path

import pytest

from common.broker_channel import BrokerChannel
from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.errors import AuthenticityError, FreshnessError, PolicyError
from common.identifiers import PartyKey
from common.key_binding import key_grant_info
from common.key_retrieval import Launch, attest_and_fetch
from common.messages.admission import Admission
from common.messages.broker_exchange import BrokerReply
from common.messages.evidence import Collateral, TrustLevel
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from common.policy_rules import require_document_fits
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, BrokerWorld, MemoryStore, Party
from tests.security.canary import Scanner


class CuriousHost:
    """Carries everything, keeps everything: requests, replies, the broker's disk after each step."""

    def __init__(self, world: BrokerWorld) -> None:
        self.seen: list[bytes] = []
        self._handle, self._store = world.core.handle, world.store
        world.core.handle = self._carry  # type: ignore[method-assign]

    def _carry(self, raw: bytes, host_time: int, offered: Collateral | None = None) -> bytes:
        reply = self._handle(raw, host_time, offered)
        self.seen += [raw, reply, *self._store.blobs[-1:]]
        return reply


def keys_of(*launches: Launch) -> dict[str, bytes]:
    return {f"{one.terms.role} {name}": key._raw for one in launches for name, key in one.keys.items()}


def test_a_whole_job_passes_a_curious_host(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    marker = PartyKey(secrets.token_hex(32))  # somebody whom only the sealed policy and terms name
    host = CuriousHost(world)
    data = world.register_data(providers=(world.provider.party, marker))
    bundle = world.register_bundle(owners=(world.owner.party, marker))
    job_id = world.start_job(data, bundle)
    launches = [world.launch(TRAINER, job_id), world.launch(PARAMSERVER, job_id)]
    manifest = world.finish(job_id)
    launches.append(world.launch(QUERY, job_id))
    world.draw(launches[-1], world.grant(manifest))
    refused = world.order(world.register_data(max_jobs=0), bundle)
    with pytest.raises(PolicyError, match="policy.jobs"):
        world.accept(sign(refused, world.owner.key))

    identity = world.context.signing_key.seed_for_sealing(), world.context.wrapping_key.seed_for_sealing()
    markers = keys_of(*launches) | {"owner's data": data.key._raw, "bundle": bundle.key._raw}
    markers |= {"broker signing": identity[0], "broker wrapping": identity[1], "policy": marker.raw()}
    assert len(markers) == 4 + 4 + 2 + 5
    everything = b"\n".join(host.seen)
    hits = Scanner(markers).scan(everything)
    assert hits == []
    assert marker.encode() not in everything
    planted = everything + launches[0].keys["job"]._raw
    assert {hit.marker for hit in Scanner(markers).scan(planted)} == {"trainer job", "paramserver job"}


def test_keys_open_for_the_launch_that_was_admitted_and_for_no_other(tmp_path: Path) -> None:
    """A host lets a genuine launch attest, and hands the answer to an enclave of its own with other keys."""
    world = BrokerWorld(tmp_path)
    job_id, recorded = world.start_job(), list[bytes]()

    def record(raw: bytes) -> bytes:
        recorded.append(world.handle(raw))
        return recorded[-1]

    genuine = attest_and_fetch(world.runtime("trainer"), BrokerChannel(record), TRAINER, job_id, 0)
    admission = BrokerReply.decode(Signed.decode(recorded[-1]).payload).body
    assert isinstance(admission, Admission)
    info = key_grant_info(genuine.report_data)
    assert genuine.wrapping_key.open_ring(admission.keys, info)["job"] == genuine.keys["job"]
    other_launch = genuine.binding.model_copy(update={"signing_public": SigningKey.generate().party})
    for key, report_data in (
        (WrappingKey.generate(), genuine.report_data),
        (genuine.wrapping_key, other_launch.report_data()),
    ):
        with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
            key.open_ring(admission.keys, key_grant_info(report_data))


def test_a_rewound_broker_without_witnesses_is_noticed_by_whoever_saw_a_later_head(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    old: MemoryStore = world.store.copy()
    order = sign(world.order(world.register_data(), world.register_bundle()), world.owner.key)
    channel = world.channel(world.owner)
    assert world.accept(order).trainers == 2
    head = world.head
    world.restart(old)
    channel.head = head
    with pytest.raises(FreshnessError, match="freshness.state"):
        channel.ask(world.dataset_registration(world.seal_data()), Registered)


def test_production_refuses_identities_made_for_simulation(tmp_path: Path) -> None:
    """The rule is judged on the document alone; a production broker runs on hardware, which no test machine has."""
    world = BrokerWorld(tmp_path)
    for unsafe, production, level, fits in (
        (True, True, TrustLevel.SGX, False),
        (False, True, TrustLevel.SGX, True),
        (True, False, TrustLevel.SIMULATION, True),
        (False, False, TrustLevel.SIMULATION, False),
    ):
        owner = Party(Identity.generate("owner", unsafe_simulation=unsafe))
        policy = world.policy_terms(owner, unsafe_simulation=unsafe)
        if fits:
            require_document_fits(policy, level, production=production)
        else:
            with pytest.raises(PolicyError, match="policy.trust_level"):
                require_document_fits(policy, level, production=production)
