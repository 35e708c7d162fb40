"""What is wrong is refused by name, and nothing is lost by it."""

from pathlib import Path

import pytest

from client import events as e
from client import ordering, owner
from client.context import Party
from client.digits import DigitsFiles
from client.objects import leaf_path
from client.pinning import pin
from client.policy_terms import PolicyTerms
from common.errors import AppraisalError, AuthenticityError, NotFoundError, Refusal
from common.identifiers import BundleId, Digest, JobId
from tests.e2e.conftest import TINY, MakeParty, Published, Registered, RunningStack, order, register

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), pytest.mark.usefixtures("many_jobs")]


def test_an_identity_with_the_hardware_floor_pins_no_simulation(stack: RunningStack, tmp_path: Path) -> None:
    careful = Party.create(tmp_path / "careful", "careful", unsafe_simulation=False)
    with pytest.raises(AppraisalError, match="appraisal.floor"):
        list(pin(careful, stack.endpoints, stack.trust_settings, measured=stack.measured))
    with pytest.raises(NotFoundError, match="not_found.pin"):
        _ = careful.trust


def test_another_fingerprint_is_not_pinned(stack: RunningStack, tmp_path: Path) -> None:
    party = Party.create(tmp_path / "ann", "ann", unsafe_simulation=True)
    with pytest.raises(AppraisalError, match="appraisal.pin"):
        list(pin(party, stack.endpoints, stack.trust_settings, expect=Digest("0" * 64)))
    shown = e.outcome(pin(party, stack.endpoints, stack.trust_settings), e.Pinned)
    assert not shown.stored
    assert e.outcome(pin(party, stack.endpoints, stack.trust_settings, expect=shown.fingerprint), e.Pinned).stored


def test_a_release_of_other_code_is_not_pinned(stack: RunningStack, tmp_path: Path) -> None:
    party = Party.create(tmp_path / "ann", "ann", unsafe_simulation=True)
    changed = tuple(one.model_copy(update={"mr_enclave": "0" * 64}) for one in stack.measured)
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        list(pin(party, stack.endpoints, stack.trust_settings, measured=changed))


def test_a_tampered_chunk_is_refused_before_and_by_the_upload(
    make_party: MakeParty, digits: DigitsFiles, tmp_path: Path
) -> None:
    party, sealed = make_party("owner"), tmp_path / "sealed"
    e.outcome(owner.seal(party, digits.train, sealed), e.Sealed)
    chunk = leaf_path(sealed, 1)
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(AuthenticityError, match="authenticity.sealed_object"):
        list(owner.upload(party, sealed))
    chunk.write_bytes(good)
    assert e.outcome(owner.upload(party, sealed), e.DatasetRegistered)


def test_an_upload_that_is_repeated_sends_nothing_and_names_the_same_data_set(
    registered: Registered, tmp_path: Path
) -> None:
    again = list(owner.upload(registered.party, tmp_path / "sealed"))
    assert again[-1] == registered.dataset.model_copy(update={"bytes_sent": 0})


def test_nobody_may_train_before_a_policy_says_so(
    make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path: Path
) -> None:
    party, sealed = make_party("owner"), tmp_path / "sealed"
    e.outcome(owner.seal(party, digits.train, sealed), e.Sealed)
    dataset = e.outcome(owner.upload(party, sealed), e.DatasetRegistered)
    with pytest.raises(Refusal, match="policy."):
        order(Registered(party, dataset), published)


def test_an_order_for_a_provider_that_the_policy_does_not_name_is_refused(
    registered: Registered, published: Published, make_party: MakeParty
) -> None:
    foreign = PolicyTerms(providers=(make_party("other").identity.signing_key.party,), max_jobs=4)
    list(owner.set_policy(registered.party, registered.dataset.dataset_id, foreign))
    with pytest.raises(Refusal, match="policy.provider") as caught:
        order(registered, published)
    assert caught.value.seen is not None, "the owner is entitled to read what was seen"


def test_a_policy_with_used_up_jobs_refuses_the_next_order(
    make_party: MakeParty, published: Published, digits: DigitsFiles, tmp_path: Path
) -> None:
    registered = register(make_party("owner"), published, digits.train, tmp_path / "sealed", max_jobs=1)
    job_id = order(registered, published)
    list(ordering.cancel(registered.party, job_id))
    with pytest.raises(Refusal, match="policy.jobs"):
        order(registered, published)


def test_a_stranger_neither_sees_nor_cancels_a_job(
    registered: Registered, published: Published, make_party: MakeParty
) -> None:
    job_id, stranger = order(registered, published), make_party("stranger")
    stored = registered.party.document("orders", job_id)
    assert stored is not None
    stranger.keep_document("orders", job_id, stored)
    with pytest.raises(NotFoundError, match="not_found.job"):
        list(ordering.watch(stranger, job_id))
    with pytest.raises(Refusal, match="policy.signer"):
        list(ordering.cancel(stranger, job_id))
    assert e.outcome(ordering.cancel(registered.party, job_id), e.Ended).state == "cancelled"


def test_unknown_names_are_refused(registered: Registered) -> None:
    nowhere = BundleId("bundle_" + "0" * 32)
    with pytest.raises(NotFoundError, match="not_found.bundle"):
        list(ordering.train(registered.party, ordering.Training(registered.dataset.dataset_id, nowhere, 2, TINY)))
    with pytest.raises(NotFoundError, match="not_found.job"):
        list(ordering.cancel(registered.party, JobId("job_" + "0" * 32)))
