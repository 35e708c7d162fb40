"""A broker on a platform whose quotes carry no collateral, as a party verifies it."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.broker import BrokerLink, describe_broker
from client.context import Party, PinnedTrust
from client.events import Noted, Verified
from client.verification import verify_broker, verify_evidence
from common.crypto.signing import SigningKey
from common.dcap import NO_PLATFORM_RULES
from common.dcap.collateral_memory import marks_of
from common.enclave.simulated_pki import SimulatedPki, issue_crl
from common.errors import AuthenticityError, FreshnessError, Refusal
from common.messages.broker_exchange import BrokerReply
from common.messages.broker_identity import BrokerDescription
from common.messages.evidence import Collateral, SgxDcapEvidence, TrustLevel
from common.messages.release import Release
from common.messages.signed import Signed, read_document, sign
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, TestRuntime
from tests.fakes.operator import Operator, issued, operating


@dataclass(frozen=True)
class Bringing(TestRuntime):
    """A broker's platform whose quotes carry this collateral."""

    brought: Collateral | None = None

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        return super().evidence(report_data).model_copy(update={"collateral": self.brought})


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    world = BrokerWorld(tmp_path / "world")
    world.bare_broker()
    with operating(Operator(world, issued(world.platform.pki))) as serving:
        yield serving


def describe(operator: Operator) -> Any:
    world = operator.world
    release = Release.decode(world.release.payload)
    rules, floor = (lambda _: NO_PLATFORM_RULES), TrustLevel.SIMULATION
    return describe_broker(operator.endpoints, world.trust, release, rules, floor)


def test_its_quote_is_verified_with_what_the_operator_serves(operator: Operator) -> None:
    assert describe(operator).collateral == operator.collateral
    assert operator.asked == ["/v1/collateral/sgx/c0ffee000000/platform"]


def test_foreign_or_expired_collateral_opens_nothing(operator: Operator) -> None:
    pki = operator.world.platform.pki
    for collateral in (issued(SimulatedPki.generate(datetime.now(UTC))), issued(pki, 31)):
        operator.collateral = collateral
        with pytest.raises(Refusal):
            describe(operator)


def pinned(operator: Operator, home: Path) -> Party:
    party, world = Party.create(home, "owner", unsafe_simulation=True), operator.world
    party.pin(
        PinnedTrust(
            endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
        )
    )
    return party


@pytest.mark.parametrize("bare", [True, False])
def test_a_party_remembers_what_revoked_its_broker(operator: Operator, tmp_path: Path, bare: bool) -> None:
    """Also where the quote brings it. Else the CRL before it would be believed next."""
    party, pki = pinned(operator, tmp_path / "owner"), operator.world.platform.pki
    revoking = issued(pki).model_copy(
        update={"pck_crl": issue_crl(pki.pck_ca, datetime.now(UTC), (pki.pck.certificate.serial_number,))}
    )
    operator.collateral = revoking
    if not bare:
        operator.world.start_on(
            Bringing(operator.world.platform, MEASUREMENTS["broker"], operator.world.trust, brought=revoking)
        )
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        BrokerLink(party).verify()
    assert set(party.collateral_memory.marks) == set(marks_of(revoking))
    operator.world.bare_broker()
    operator.collateral = issued(pki, 2)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        BrokerLink(party).verify()
    forged = SimulatedPki.generate(datetime.now(UTC))
    operator.collateral = issued(forged, -1)
    with pytest.raises(Refusal):
        BrokerLink(party).verify()
    assert set(party.collateral_memory.marks) == set(marks_of(revoking))


def test_a_reply_that_its_broker_did_not_sign_teaches_a_party_nothing(operator: Operator, tmp_path: Path) -> None:
    """Else whoever answers once could have the honest broker refused from then on, and revocations with it."""
    party, world = pinned(operator, tmp_path / "owner"), operator.world
    usual = operator.collateral = issued(world.platform.pki, 1)
    assert BrokerLink(party).verify()
    known = set(party.collateral_memory.marks)
    operator.collateral = issued(world.platform.pki)
    honest, stranger = world.core.handle, SigningKey.generate()

    def forged(raw: bytes, at: int) -> bytes:
        return sign(_broken(read_document(Signed.decode(honest(raw, at)), BrokerReply), stranger), stranger).encode()

    with pytest.MonkeyPatch.context() as answering:
        answering.setattr(world.core, "handle", forged)
        with pytest.raises(Refusal):
            BrokerLink(party).verify()
    assert set(party.collateral_memory.marks) == known
    operator.collateral = usual
    assert BrokerLink(party).verify()


def _broken(reply: BrokerReply, signer: SigningKey) -> BrokerReply:
    """The description of a broker of another key, with a quote of which one bit is another."""
    body = reply.body
    assert isinstance(body, BrokerDescription)
    quote = bytearray(body.evidence.quote)
    quote[200] ^= 1
    evidence = body.evidence.model_copy(update={"quote": bytes(quote)})
    genesis = body.genesis.model_copy(update={"signing_public": signer.party})
    return reply.model_copy(update={"body": body.model_copy(update={"evidence": evidence, "genesis": genesis})})


def test_what_ends_something_needs_no_newest_collateral(operator: Operator, tmp_path: Path) -> None:
    party, world = pinned(operator, tmp_path / "owner"), operator.world
    assert BrokerLink(party).verify_to_end().type == "quote-verified"
    operator.collateral = issued(world.platform.pki, 2)
    noted = BrokerLink(party).verify_to_end()
    assert isinstance(noted, Noted)
    assert "freshness.collateral" in noted.text


def test_a_party_refuses_older_collateral_than_it_has_seen(operator: Operator, tmp_path: Path) -> None:
    party, world = pinned(operator, tmp_path / "owner"), operator.world
    assert BrokerLink(party).verify().trust_level == "simulation"
    operator.collateral = issued(world.platform.pki, 2)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        BrokerLink(Party(tmp_path / "owner")).verify()
    operator.collateral = issued(world.platform.pki)
    assert BrokerLink(Party(tmp_path / "owner")).verify()


def test_its_quote_is_kept_to_be_verified_again_at_the_time_that_is_said(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    party, world = Party.create(tmp_path / "owner", "owner", unsafe_simulation=True), operator.world
    party.pin(
        PinnedTrust(
            endpoints=operator.endpoints, trust_settings=world.trust, release=world.release, broker=world.genesis
        )
    )
    first, told = verify_broker(party, tmp_path / "quote.json")
    assert isinstance(told, Verified)
    (at,) = re.findall(r"`--at (\d+)`", told.checks[-1])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 366 * 86_400)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        list(verify_evidence(party, tmp_path / "quote.json", "broker"))
    again, _ = verify_evidence(party, tmp_path / "quote.json", "broker", int(at))
    assert first == again
