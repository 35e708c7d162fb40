"""A model outlives an upgrade of the enclaves: query enclaves of the broker's own release, where all terms name it."""

from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.errors import AppraisalError, CloisterError, FreshnessError, PolicyError
from common.identifiers import MrEnclave
from common.key_retrieval import Launch, renew_lease
from common.messages.decision_log import LogEntry
from common.messages.placement import Placement
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.registration import Registered
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, SealedBundle, SealedData
from tests.fakes.handover_world import HEIR, Heir

LATER_QUERY, LATER_TRAINER = MrEnclave("cd" * 32), MrEnclave("ef" * 32)
LATER = {"query": LATER_QUERY, "trainer": LATER_TRAINER}


class Upgraded:
    """A model of an earlier release, and a broker of a later one whose `query` and `trainer` measure otherwise."""

    def __init__(self, directory: Path, *, handed_over: bool = False, names_later: bool = True) -> None:
        self.world = world = BrokerWorld(directory)
        broker = HEIR if handed_over else MEASUREMENTS["broker"]
        self.later = world.sign_release(MEASUREMENTS | {"broker": broker} | LATER, tag="2")
        named = (world.release.digest, *([self.later.digest] if names_later else []))
        self.data: SealedData = world.register_data(releases=named)
        self.bundle: SealedBundle = world.register_bundle(releases=named)
        self.job_id, self.running = (world.start_job(self.data, self.bundle) for _ in range(2))
        self.model = world.finish(self.job_id)
        if handed_over:
            Heir(world, self.later, world.runtime("broker", HEIR)).succeed()

    def named(self) -> "Upgraded":
        self.world.core.name_release(self.later)
        return self

    def launch(self, measurement: MrEnclave = LATER_QUERY) -> Launch:
        return self.world.launch(QUERY, self.job_id, measurement=measurement)

    def renew(self, launch: Launch, measurement: MrEnclave = LATER_QUERY) -> None:
        renew_lease(self.world.runtime("query", measurement), self.world.channel(), launch)

    def next_terms(self, of: str, *releases: Signed) -> None:
        """The newest version of a party's terms names these releases."""
        world, names = self.world, tuple(one.digest for one in releases)
        terms: DataPolicy | BundleTerms
        if of == "owner":
            terms = world.policy_terms(world.owner, policy_version=2, previous=self.data.policy.digest, releases=names)
            world.channel(world.owner).ask(world.policy_update(self.data, sign(terms, world.owner.key)), Registered)
        else:
            terms = world.bundle_terms(
                world.provider, policy_version=2, previous=self.bundle.terms.digest, releases=names
            )
            world.channel(world.provider).ask(
                world.terms_update(self.bundle, sign(terms, world.provider.key)), Registered
            )

    def revoke(self, release: Signed) -> Revoked:
        document = ReleaseRevocation(release=release.digest, created=self.world.time)
        return self.world.channel().ask(RevokeRelease(revocation=sign(document, *self.world.release_keys)), Revoked)


def placed_under(launch: Launch) -> str:
    assert launch.placement is not None
    return Placement.decode(launch.placement.payload).release


def refusal_of(work: object) -> str:
    assert callable(work)
    with pytest.raises(CloisterError) as caught:
        work()
    return str(getattr(caught.value, "code", None))


@pytest.mark.parametrize("handed_over", [False, True])
def test_query_enclaves_of_a_later_release_answer_under_grants_that_name_it(tmp_path: Path, handed_over: bool) -> None:
    upgraded = Upgraded(tmp_path, handed_over=handed_over).named()
    world, launch = upgraded.world, upgraded.launch()
    assert placed_under(launch) == upgraded.later.digest
    assert set(launch.keys) == {"bundle", "model"}
    anew, earlier = world.grant(upgraded.model, release=upgraded.later.digest), world.grant(upgraded.model)
    assert world.draw(launch, anew, answers=5).answers == 5
    with pytest.raises(PolicyError) as caught:
        world.draw(launch, earlier)
    assert caught.value.code == "policy.grant"
    upgraded.renew(launch)


def test_it_takes_the_release_s_own_word_for_it(tmp_path: Path) -> None:
    """As it was before anybody named a release, and is again after a restart until the host names it."""
    upgraded = Upgraded(tmp_path)
    assert refusal_of(upgraded.launch) == "appraisal.measurement"
    upgraded.named().launch()
    upgraded.world.restart()
    assert refusal_of(upgraded.launch) == "appraisal.measurement"


def test_enclaves_of_the_order_s_release_answer_as_ever(tmp_path: Path) -> None:
    upgraded = Upgraded(tmp_path).named()
    launch = upgraded.launch(MEASUREMENTS["query"])
    assert placed_under(launch) == upgraded.world.release.digest
    assert upgraded.world.draw(launch, upgraded.world.grant(upgraded.model), answers=1).answers == 1
    for other in (upgraded.world.grant(upgraded.model, release=upgraded.later.digest),):
        with pytest.raises(PolicyError) as caught:
            upgraded.world.draw(launch, other)
        assert caught.value.code == "policy.grant"


def test_code_of_neither_release_gets_nothing(tmp_path: Path) -> None:
    upgraded = Upgraded(tmp_path).named()
    assert refusal_of(lambda: upgraded.launch(MrEnclave("12" * 32))) == "appraisal.measurement"


def test_members_of_a_job_are_of_its_order_s_release_alone(tmp_path: Path) -> None:
    upgraded = Upgraded(tmp_path).named()
    late = refusal_of(lambda: upgraded.world.launch(TRAINER, upgraded.running, measurement=LATER_TRAINER))
    assert late == "appraisal.measurement"
    upgraded.world.launch(TRAINER, upgraded.running)


@pytest.mark.parametrize("of", ["owner", "provider"])
def test_no_model_goes_to_code_that_one_party_has_not_named(tmp_path: Path, of: str) -> None:
    """Nor is a lease renewed once its newest terms do not name it any more."""
    upgraded = Upgraded(tmp_path).named()
    launch = upgraded.launch()
    upgraded.next_terms(of, upgraded.world.release)
    assert refusal_of(upgraded.launch) == "appraisal.measurement"
    assert refusal_of(lambda: upgraded.renew(launch)) == "appraisal.measurement"


def test_parties_who_never_named_it_have_named_nothing_by_the_host_s_word(tmp_path: Path) -> None:
    assert refusal_of(Upgraded(tmp_path, names_later=False).named().launch) == "appraisal.measurement"


@pytest.mark.parametrize("revoked", ["later", "order"])
def test_a_revoked_release_ends_it(tmp_path: Path, revoked: str) -> None:
    """The later one: nothing is of it any more. The order's: what it made is not trusted, whoever would answer."""
    upgraded = Upgraded(tmp_path).named()
    launch, grant = upgraded.launch(), upgraded.world.grant(upgraded.model, release=upgraded.later.digest)
    told = upgraded.revoke(upgraded.later if revoked == "later" else upgraded.world.release)
    assert told.leases_end > upgraded.world.time, "an enclave holds the model's key until then"
    assert refusal_of(upgraded.launch) == "appraisal.release"
    assert refusal_of(lambda: upgraded.renew(launch)) == "appraisal.release"
    assert refusal_of(lambda: upgraded.world.draw(launch, grant)) == "appraisal.release"


def test_a_host_names_no_release_that_is_not_this_broker_s(tmp_path: Path) -> None:
    upgraded = Upgraded(tmp_path)
    world = upgraded.world
    foreign = world.sign_release(MEASUREMENTS | {"broker": HEIR} | LATER, tag="3")
    unsigned = world.sign_release(MEASUREMENTS | LATER, SigningKey.generate(), tag="3")
    upgraded.revoke(upgraded.later)
    for document in (foreign, unsigned, upgraded.later):
        with pytest.raises(AppraisalError) as caught:
            world.core.name_release(document)
        assert caught.value.code == "appraisal.release"
        assert refusal_of(upgraded.launch) == "appraisal.measurement"


def test_a_superseded_placement_draws_nothing(tmp_path: Path) -> None:
    """The launch's release is that of the asking launch, not of another one that is placed."""
    upgraded = Upgraded(tmp_path).named()
    old, new = upgraded.launch(MEASUREMENTS["query"]), upgraded.launch()
    grant = upgraded.world.grant(upgraded.model, release=upgraded.later.digest)
    with pytest.raises(PolicyError):
        upgraded.world.draw(old, grant)
    assert upgraded.world.draw(new, grant, answers=1).answers == 1
    upgraded.world.time += 2 * 86_400
    with pytest.raises((FreshnessError, PolicyError)):
        upgraded.world.draw(new, grant)


def test_the_log_says_under_which_release_keys_and_answers_were_given(tmp_path: Path) -> None:
    upgraded = Upgraded(tmp_path).named()
    world, launch = upgraded.world, upgraded.launch()
    world.draw(launch, world.grant(upgraded.model, release=upgraded.later.digest))
    entries = [LogEntry.decode(world.store.read_entry(number)) for number in range(world.head.size)]
    told = {entry.decision: entry.subjects.release for entry in entries}
    assert (told["admit-launch"], told["draw-budget"]) == (upgraded.later.digest, upgraded.later.digest)
    assert told["accept-order"] == world.release.digest


@pytest.mark.parametrize("revoked", ["order", "later"])
def test_an_owner_s_end_of_either_release_ends_answers_at_once(tmp_path: Path, revoked: str) -> None:
    upgraded = Upgraded(tmp_path).named()
    world, launch = upgraded.world, upgraded.launch()
    grant = world.grant(upgraded.model, release=upgraded.later.digest)
    world.draw(launch, grant, answers=1)
    ended = world.release if revoked == "order" else upgraded.later
    policy = world.policy_terms(
        world.owner, policy_version=2, previous=upgraded.data.policy.digest,
        releases=(world.release.digest, upgraded.later.digest), revoked_releases=(ended.digest,),
    )  # fmt: skip
    world.channel(world.owner).ask(world.policy_update(upgraded.data, sign(policy, world.owner.key)), Registered)
    assert refusal_of(lambda: world.draw(launch, grant)) == "policy.release"


@pytest.mark.parametrize("of", ["owner", "provider"])
def test_terms_that_name_it_no_more_end_answers_at_once(tmp_path: Path, of: str) -> None:
    upgraded = Upgraded(tmp_path).named()
    launch, grant = upgraded.launch(), upgraded.world.grant(upgraded.model, release=upgraded.later.digest)
    upgraded.next_terms(of, upgraded.world.release)
    code = "policy.release" if of == "owner" else "policy.provider_terms"
    assert refusal_of(lambda: upgraded.world.draw(launch, grant)) == code


def test_a_lease_is_of_the_release_that_the_launch_was_admitted_under(tmp_path: Path) -> None:
    """A host that names another release of the same code gains no time after a revocation."""
    upgraded = Upgraded(tmp_path).named()
    world, launch = upgraded.world, upgraded.launch()
    again = world.sign_release(MEASUREMENTS | LATER, tag="2b")
    releases = (world.release, upgraded.later, again)
    for of in ("owner", "provider"):
        upgraded.next_terms(of, *releases)
    upgraded.renew(launch)
    upgraded.revoke(upgraded.later)
    world.core.name_release(again)
    assert refusal_of(lambda: upgraded.renew(launch)) == "appraisal.release"
    assert placed_under(upgraded.launch()) == again.digest
