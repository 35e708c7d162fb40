"""Promise: sealed state reaches another build only by a handover that release keys and terms allow, and of two brokers
that could carry on at most one ever releases anything. The host carries everything, and is the attacker.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_quote import encode_report, sign_quote
from common.errors import AppraisalError, AuthenticityError, ConflictError, FreshnessError, Refusal, UnavailableError
from common.identifiers import MrEnclave
from common.messages.attestation import LaunchBinding, Revoked, RevokeRelease
from common.messages.evidence import SGX_FLAGS_DEBUG, SGX_FLAGS_INIT, SGX_FLAGS_MODE64BIT, SgxDcapEvidence
from common.messages.handover import GiveHandover, HandoverGiven
from common.messages.release import ReleaseRevocation
from common.messages.signed import sign
from services.attestation.key_broker import KeyBroker
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld, MemoryStore
from tests.fakes.handover_world import HEIR, Heir
from tests.unit.client.test_witness import Watched


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


# -- who goes on -------------------------------------------------------------------------------------------------------


class Change:
    """A watched broker, an heir, and every state that the host could keep of the old one."""

    def __init__(self, directory: Path) -> None:
        self.watched = Watched(directory)
        self.world = self.watched.world
        self.watched.witness.round()
        self.heir = Heir.of(self.world)
        self.before = self.world.store.copy()

    @contextlib.contextmanager
    def attended(self) -> Any:
        with self.world.attended(self.watched.identity.signing_key):
            yield

    def give(self, heir: Heir | None = None) -> HandoverGiven:
        with self.attended():
            return (heir or self.heir).give(leave_behind=True)

    def finish(self, given: HandoverGiven) -> None:
        """The heir takes over, and the witness confirms it under its release."""
        self.heir.adopt(self.heir.take(given))
        self.watched.service.release = self.heir.release
        self.watched.witness.round()
        assert not self.world.describe().frozen
        assert self.releases()

    def old_again(self, store: MemoryStore) -> None:
        """The host starts the old build from this state, and serves its release."""
        self.world.broker_measurement = MEASUREMENTS["broker"]
        self.watched.service.release = self.world.release
        self.world.restart(store)

    def releases(self) -> bool:
        """Whether the broker that runs does anything for anybody."""
        try:
            return bool(self.world.register_data())
        except (ConflictError, UnavailableError, FreshnessError):
            return False


@pytest.fixture
def change(tmp_path: Path) -> Change:
    return Change(tmp_path)


def test_the_old_broker_never_releases_again_from_any_of_its_states(change: Change) -> None:
    given = change.give()
    old, fenced = change.world.core, change.world.store.copy()
    assert not change.releases(), "it runs, thawed, and has handed over"
    change.finish(given)
    change.world.core, now = old, change.world.core
    assert not change.releases(), "it runs on beside its heir"
    change.world.core = now
    for store in (change.before, fenced):
        for _ in range(3):
            change.old_again(store.copy())
            with pytest.raises(FreshnessError, match=r"freshness\.state"):
                change.watched.witness.round()
            assert change.world.describe().frozen
            assert not change.releases()


def test_after_a_restart_it_is_confirmed_and_still_releases_nothing(change: Change) -> None:
    """Half a handover: the heir never started. The witness confirms the old one's head; it only hands over again."""
    change.give()
    change.world.restart()
    change.watched.witness.round()
    assert not change.world.describe().frozen
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        change.world.register_data()
    change.finish(change.give())


def test_the_state_leaves_only_when_the_witnesses_have_seen_that_it_does(change: Change) -> None:
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        change.heir.give(leave_behind=True)
    assert change.heir.package.blobs == []
    assert not change.releases()
    change.finish(change.give())


def test_of_two_heirs_one_gets_it(change: Change) -> None:
    given = change.give()
    second = Heir.of(change.world, tag="2")
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        change.give(second)
    assert second.package.blobs == []
    change.finish(given)


def test_of_two_copies_of_one_heir_one_is_confirmed(change: Change) -> None:
    given, store = change.give(), change.world.store.copy()
    twin = Heir(change.world, change.heir.release, change.heir.runtime, change.heir.package, change.heir.sealed_key)
    context = twin.take(given, store)
    change.finish(given)
    change.world.context, change.world.core = context, KeyBroker(context, confirm_seconds=0.0)
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    assert not change.releases()


def test_a_build_that_never_starts_is_not_the_end(change: Change) -> None:
    """From a later boot that the witnesses confirmed another heir gets the state, and the first is dead for good."""
    given, stale = change.give(), change.world.store.copy()
    other = Heir.of(change.world, MrEnclave(sha256(b"broker, a build that starts")), tag="3")
    change.world.restart()
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        other.give(leave_behind=True)  # nobody has confirmed this boot
    change.watched.witness.round()
    first, change.heir = change.heir, other
    change.finish(change.give())
    context = first.take(given, stale)
    change.world.context, change.world.core = context, KeyBroker(context, confirm_seconds=0.0)
    change.watched.service.release = first.release
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    assert not change.releases()


def test_where_an_heir_was_confirmed_no_other_gets_the_state(change: Change) -> None:
    given, fenced = change.give(), change.world.store.copy()
    change.finish(given)
    change.old_again(fenced)
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.watched.witness.round()
    with pytest.raises(FreshnessError, match=r"freshness\.state"):
        change.heir.offer()


def test_without_witnesses_no_other_heir_gets_it(heir: Heir) -> None:
    heir.give()
    heir.world.restart()
    with pytest.raises(ConflictError, match=r"conflict\.handed_over"):
        Heir.of(heir.world).give()
    heir.adopt(heir.take(heir.give()))
    assert heir.world.register_data()
