"""Promise: sealed state reaches another build only by a handover that release keys and terms allow, and no enclave
takes a state of the host's making. The host carries everything, and is the attacker (who goes on then:
test_attack_handover_races).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_quote import encode_report, sign_quote
from common.errors import AppraisalError, AuthenticityError, FreshnessError, Refusal
from common.identifiers import MrEnclave
from common.messages.evidence import SGX_FLAGS_DEBUG, SGX_FLAGS_INIT, SGX_FLAGS_MODE64BIT, SgxDcapEvidence
from common.messages.handover import GiveHandover
from common.messages.launch_binding import LaunchBinding
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import sign
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore
from tests.fakes.handover_world import HEIR, Heir


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """Without witnesses, whose releases want two signatures."""
    return BrokerWorld(tmp_path, release_signers=2)


@pytest.fixture
def heir(world: BrokerWorld) -> Heir:
    return Heir.of(world)


def quoted(world: BrokerWorld, binding: LaunchBinding, measured: MrEnclave = HEIR, **report: Any) -> SgxDcapEvidence:
    """A quote of the world's platform with chosen fields."""
    platform = world.platform
    body = encode_report(measured.raw(), binding.report_data(), **report)
    quote = sign_quote(body, platform.attestation_key, platform.pki.pck.key, platform.pki.pck_chain)
    return SgxDcapEvidence(quote=quote, collateral=platform.collateral())


# -- what a lying host lays before the giver ---------------------------------------------------------------------------


def _swapped_key(heir: Heir) -> GiveHandover:
    body = heir.request()
    own = WrappingKey.generate().public
    return body.model_copy(update={"binding": body.binding.model_copy(update={"wrapping_public": own})})


def _stale(heir: Heir) -> GiveHandover:
    body = heir.request()
    heir.world.time = heir.offer().not_after + 1
    return body


def _of_another_boot(heir: Heir) -> GiveHandover:
    body = heir.request()
    heir.world.restart()
    return body


def _answer_to_another_nonce(heir: Heir) -> GiveHandover:
    return heir.request(challenge_id=heir.offer().challenge_id)


def _quoted(**report: Any) -> Callable[[Heir], GiveHandover]:
    def made(heir: Heir) -> GiveHandover:
        body = heir.request()
        return body.model_copy(update={"evidence": quoted(heir.world, body.binding, **report)})

    return made


def _foreign_root(heir: Heir) -> GiveHandover:
    body, directory = heir.request(), heir.world.platform.directory.with_name("foreign")
    foreign = SimulatedPlatform.open_or_create(directory)
    return body.model_copy(update={"evidence": foreign.evidence(HEIR, body.binding.report_data())})


def _description_for_a_request(heir: Heir) -> GiveHandover:
    """The quote with which a broker of the later build describes itself is no heir's, nor is a launch's."""
    body = heir.request()
    binding = body.binding.model_copy(update={"subject": sha256(b"something else")})
    return body.model_copy(update={"binding": binding, "evidence": quoted(heir.world, binding)})


def _for_another_broker(heir: Heir) -> GiveHandover:
    body = heir.request()
    binding = body.binding.model_copy(update={"signing_public": SigningKey.generate().party})
    return body.model_copy(update={"binding": binding, "evidence": quoted(heir.world, binding)})


def _signed_by_one(heir: Heir) -> GiveHandover:
    world = heir.world
    return heir.request(release=world.sign_release(MEASUREMENTS | {"broker": HEIR}, world.release_keys[0], tag="2"))


def _signed_by_strangers(heir: Heir) -> GiveHandover:
    keys = [SigningKey.generate(), SigningKey.generate()]
    return heir.request(release=heir.world.sign_release(MEASUREMENTS | {"broker": HEIR}, *keys, tag="2"))


def _release_without_it(heir: Heir) -> GiveHandover:
    return heir.request(release=heir.world.release)


def _only_a_trainer_there(heir: Heir) -> GiveHandover:
    """The later build is in a signed release, in another role."""
    return heir.request(release=heir.world.sign_release(MEASUREMENTS | {"trainer": HEIR}, tag="3"))


def _revoked(heir: Heir) -> GiveHandover:
    world = heir.world
    revocation = ReleaseRevocation(release=heir.release.digest, created=world.time)
    world.channel().ask(RevokeRelease(revocation=sign(revocation, *world.release_keys)), Revoked)
    return heir.request()


DEBUG = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT | SGX_FLAGS_DEBUG
LIES: dict[str, tuple[Callable[[Heir], GiveHandover], str]] = {
    "the host's own key": (_swapped_key, "appraisal.binding"),
    "a stale nonce": (_stale, "freshness.challenge"),
    "a nonce of another boot": (_of_another_boot, "freshness.challenge"),
    "an answer to another nonce": (_answer_to_another_nonce, "appraisal.binding"),
    "a foreign root": (_foreign_root, "appraisal.root"),
    "a debug enclave": (_quoted(flags=DEBUG), "appraisal.debug"),
    "code of no release": (_quoted(measured=MrEnclave("ab" * 32)), "appraisal.measurement"),
    "a trainer": (_quoted(measured=MEASUREMENTS["trainer"]), "appraisal.measurement"),
    "a quote for another purpose": (_description_for_a_request, "appraisal.binding"),
    "an heir of another broker": (_for_another_broker, "appraisal.binding"),
    "too few release keys": (_signed_by_one, "appraisal.release"),
    "strangers' release": (_signed_by_strangers, "appraisal.release"),
    "a release that does not name it": (_release_without_it, "appraisal.measurement"),
    "a release that names it in another role": (_only_a_trainer_there, "appraisal.measurement"),
    "a revoked release": (_revoked, "appraisal.release"),
}


@pytest.mark.parametrize("lie", LIES)
def test_nothing_leaves_for_a_lie_and_the_broker_goes_on(heir: Heir, lie: str) -> None:
    world, (make, code) = heir.world, LIES[lie]
    body = make(heir)
    before = world.store.entry_count
    with pytest.raises(Refusal) as refused:
        world.core.hand_over(body, world.time, heir.package)
    assert refused.value.code == code
    assert heir.package.blobs == []
    assert (world.store.entry_count, world.context.handed_over) == (before, None)
    assert world.register_data()


def test_a_request_is_answered_once(heir: Heir) -> None:
    body = heir.request()
    heir.world.core.hand_over(body, heir.world.time, heir.package)
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        heir.world.core.hand_over(body, heir.world.time, heir.package)


def test_an_older_security_version_gets_nothing(heir: Heir, monkeypatch: pytest.MonkeyPatch) -> None:
    world, body = heir.world, heir.request()

    def newer(data: bytes) -> SgxDcapEvidence:
        report = encode_report(MEASUREMENTS["broker"].raw(), data, isv_svn=2)
        platform = world.platform
        quote = sign_quote(report, platform.attestation_key, platform.pki.pck.key, platform.pki.pck_chain)
        return SgxDcapEvidence(quote=quote, collateral=platform.collateral())

    monkeypatch.setattr(type(world.context.platform), "evidence", lambda _, data: newer(data))
    for svn in (0, 1):
        older = body.model_copy(update={"evidence": quoted(world, body.binding, isv_svn=svn)})
        with pytest.raises(AppraisalError, match=r"appraisal\.downgrade"):
            world.core.hand_over(older, world.time, heir.package)
        body = again(heir, body)
    evidence = quoted(world, body.binding, isv_svn=2)
    world.core.hand_over(body.model_copy(update={"evidence": evidence}), world.time, heir.package)


def again(heir: Heir, body: GiveHandover) -> GiveHandover:
    """The same heir, answering a new challenge."""
    offer = heir.offer()
    binding = offer.heir_binding(body.binding.wrapping_public)
    return body.model_copy(update={"challenge_id": offer.challenge_id, "binding": binding})


# -- what a lying host lays before the heir ----------------------------------------------------------------------------


def test_an_heir_takes_no_state_of_the_hosts_making(heir: Heir, tmp_path: Path) -> None:
    """Else the host would know the signing key of a broker that quotes as genuine."""
    other = BrokerWorld(tmp_path / "other", release_signers=2)
    given = heir.give()
    own = Heir(other, other.sign_release(MEASUREMENTS | {"broker": HEIR}), heir.runtime, sealed_key=heir.sealed_key)
    with pytest.raises(AppraisalError, match=r"appraisal\.(root|release)"):
        heir.take(own.give(), MemoryStore(), release=other.release)
    binding = given.package.giver_binding(heir.request().binding.wrapping_public)
    evidence = heir.world.runtime("trainer").evidence(binding.report_data())
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):  # evidence of what is no broker
        heir.take(given.model_copy(update={"evidence": evidence}), MemoryStore())
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):  # another package under a genuine quote
        heir.take(given.model_copy(update={"package": given.package.model_copy(update={"epoch": 9})}), MemoryStore())


def test_an_heir_takes_no_part_of_a_package_nor_another_heirs(heir: Heir) -> None:
    world = heir.world
    for _ in range(3):
        world.register_data()
    given = heir.give(leave_behind=True)
    for blobs in ([], heir.package.blobs[:-1], [*heir.package.blobs, heir.package.blobs[-1]]):
        whole, heir.package.blobs = heir.package.blobs, list(blobs)
        with pytest.raises(AuthenticityError, match=r"authenticity\.sealed_state"):
            heir.take(given, MemoryStore())
        heir.package.blobs = whole
    stranger = Heir.of(world)
    stranger.ask()
    stranger.package = heir.package
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        stranger.take(given, MemoryStore())
    assert heir.take(given).genesis == world.genesis
