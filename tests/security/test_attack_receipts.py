"""Promise: a receipt shows which enclave gave which answer, to whom, and nobody can make one, change one or read one.

Whoever forges is anybody who has genuine receipts, keys of his own, a host and enclaves under the release: each defect
is tried alone, in a file that is right in everything else.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from client.cli import main
from client.context import Endpoints, Party, PinnedTrust
from client.query_session import QuerySession, QueryUser
from client.receipt_verification import ReceiptPins, verify_receipt_file
from client.receipts import ReceiptBook
from common.crypto.signing import SigningKey
from common.dcap.completion import complete_evidence
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, PolicyError, Refusal
from common.identifiers import CodeMeasurement, Digest, GrantId, ModelId, MrEnclave
from common.messages.answer_bounds import AnswerBounds
from common.messages.broker_identity import Genesis
from common.messages.evidence import DcapQuote, TrustLevel
from common.messages.placement import Placement
from common.messages.query import RECEIPT_ROOM, size_class
from common.messages.receipt import MAX_RECEIPT_FILE_BYTES, Opening, Receipt, ReceiptFile, ReceiptOpenings
from common.messages.signed import Signed
from common.receipts import labels_told, rows_asked, sign_receipt
from tests.fakes.query_world import MEASUREMENT, PROFILE, ROWS, WEIGHTS_CF, Launch, QueryWorld, rows_of

NOWHERE = "http://127.0.0.1:9"
YEAR = 365 * 86_400


@pytest.fixture(scope="module")
def _directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("receipts")


@pytest.fixture
def world(_directory: Path) -> QueryWorld:
    """Fresh parties on one platform."""
    return QueryWorld(_directory)


def asked(world: QueryWorld, launch: Launch | None = None, grant: Signed | None = None) -> ReceiptBook:
    """A book with the receipt of one answer, to two rows."""
    session = world.session(launch or world.launch(), grant)
    book = session.receipt_book()
    session.ask(rows_of(2), book=book)
    return book


def pins(world: QueryWorld, **changes: Any) -> ReceiptPins:
    """What a verifier holds fixed, who has pinned this world."""
    return replace(ReceiptPins(world.pins, world.broker.party), **changes)


def verify(world: QueryWorld, file: ReceiptFile, *shown: ReceiptOpenings, **changes: Any) -> None:
    """As whoever is shown it; it travelled as bytes."""
    verify_receipt_file(ReceiptFile.decode(file.encode(), limit=MAX_RECEIPT_FILE_BYTES), pins(world, **changes), *shown)


def with_receipt(file: ReceiptFile, receipt: Receipt) -> ReceiptFile:
    """The same evidence, another receipt."""
    return file.model_copy(update={"receipts": (receipt,)})


def test_a_receipt_stands_and_opens_to_what_was_asked_and_told(world: QueryWorld) -> None:
    grant = world.grant()
    book = asked(world, grant=grant)
    query, answer = book.openings("query"), book.openings("answer")
    verify(world, book.file, query, answer, user=world.user.party, model_id=world.model_id)
    np.testing.assert_array_equal(rows_asked(query.openings[0].content), rows_of(2))
    np.testing.assert_array_equal(labels_told(answer.openings[0].content), (rows_of(2) @ WEIGHTS_CF.T).argmax(axis=1))
    receipt = book.receipts[0]
    assert (receipt.user, receipt.model_id, receipt.manifest) == (
        world.user.party, world.model_id, world.manifest.digest,
    )  # fmt: skip
    assert (receipt.answers_left, receipt.measurement, receipt.grant) == (
        98, MEASUREMENT, GrantId.of(grant.digest),
    )  # fmt: skip
    assert abs(receipt.time - world.now()) <= 5


def test_a_receipt_of_labels_stands_too(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(detail="label"))
    book = session.receipt_book()
    labels = session.ask(rows_of(3), book=book).labels
    verify(world, book.file, book.openings("answer"))
    np.testing.assert_array_equal(labels_told(book.openings("answer").openings[0].content), labels)


def test_a_receipt_of_a_part_of_the_scores_stands_too(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answer_bounds=AnswerBounds(top=1, decimals=1)))
    book = session.receipt_book()
    labels = session.ask(rows_of(3), book=book).labels
    verify(world, book.file, book.openings("answer"))
    np.testing.assert_array_equal(labels_told(book.openings("answer").openings[0].content), labels)


def test_a_call_of_several_queries_has_a_receipt_of_each_over_two_launches(world: QueryWorld) -> None:
    first, second = world.launch(), world.launch()
    session = world.session(first)
    book = session.receipt_book()
    session.ask_all(rows_of(ROWS + 1), book)
    first.get, first.post = second.get, second.post  # type: ignore[method-assign]
    session.ask(rows_of(1), book=book)
    assert len({one.launch for one in book.receipts}) == 2
    verify(world, book.file, book.openings("query"), book.openings("answer"))
    assert [len(rows_asked(one.content)) for one in book.openings("query").openings] == [ROWS, 1, 1]


def test_a_receipt_carries_the_collateral_that_its_user_verified_with(world: QueryWorld) -> None:
    """The enclave's proof may be a bare quote; whoever is shown the file has no service to ask."""
    launch = world.launch()
    whole = complete_evidence(launch.evidence)
    launch.evidence = DcapQuote(quote=whole.quote)
    user = QueryUser(world.user, world.grant(), world.pins, lambda _bare: whole)
    session = QuerySession.open(launch, user, pause=lambda _seconds: None)
    book = session.receipt_book()
    session.ask(rows_of(1), book=book)
    verify(world, book.file)


def test_receipts_of_answers_before_a_refusal_are_kept(world: QueryWorld) -> None:
    session = world.session(world.launch())
    book = session.receipt_book()
    session.ask(rows_of(1), book=book)
    world.ledger.refusal = "policy.revoked"
    world.lease_is_over = True
    with pytest.raises(Refusal, match="freshness.lease"):
        session.ask(rows_of(1), book=book)
    assert len(book.receipts) == 1


# -- what a receipt, and asking for one, tells ------------------------------------------------------------------------


def test_the_same_answer_twice_gives_commitments_that_are_unrelated(world: QueryWorld) -> None:
    session = world.session(world.launch())
    book = session.receipt_book()
    told = [session.ask(rows_of(1), book=book) for _ in range(2)]
    np.testing.assert_array_equal(told[0].labels, told[1].labels)
    first, second = book.receipts
    assert len({first.query, second.query, first.answer, second.answer}) == 4
    salts = [one.salt for what in ("query", "answer") for one in book.openings(what).openings]
    assert len(set(salts)) == 4
    contents = [book.openings("query").openings[at].content for at in (0, 1)]
    assert contents[0] == contents[1]


def test_a_receipt_file_has_neither_salts_nor_content(world: QueryWorld) -> None:
    book = asked(world)
    shown = book.file.encode()
    for what in ("query", "answer"):
        for one in book.openings(what).openings:
            for secret in (one.salt, one.content, one.content[-8:]):
                assert Opening(salt=bytes(32), content=secret).encode()[66:-3] not in shown
                assert secret.hex().encode() not in shown


def test_showing_the_answer_does_not_open_the_query(world: QueryWorld) -> None:
    """A query of few possible values could be found by trying, had both commitments one salt."""
    book = asked(world)
    query, answer = book.openings("query").openings[0], book.openings("answer").openings[0]
    tried = ReceiptOpenings(opens="query", openings=(Opening(salt=answer.salt, content=query.content),))
    with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
        verify(world, book.file, tried)


def test_the_host_cannot_see_that_a_receipt_was_asked_for(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=3))
    book, moments = session.receipt_book(), [launch.clock.at]
    for one in (None, book):
        session.ask(rows_of(1), book=one)
        moments.append(launch.clock.at)
    with pytest.raises(PolicyError):
        session.ask(rows_of(4), book=book)
    sizes = {(len(body), len(answer)) for (path, body), answer in zip(launch.sent, launch.received, strict=True)
             if path.endswith("/queries")}  # fmt: skip
    assert sizes == {(PROFILE.query_bytes, PROFILE.answer_bytes)}
    assert moments[1] - moments[0] == pytest.approx(moments[2] - moments[1])
    assert len(book.receipts) == 1


def test_the_room_of_a_receipt_is_within_the_one_size_of_answers() -> None:
    full = PROFILE.model_copy(update={"max_rows": (1024 - 16) // PROFILE.answer.row_bytes})
    assert full.outcome_bytes == size_class(16 + full.max_rows * PROFILE.answer.row_bytes + RECEIPT_ROOM) == 2048


def test_a_repeated_query_gets_the_same_receipt_and_no_second_one(world: QueryWorld) -> None:
    launch = world.launch()
    asked(world, launch)
    assert launch.answering.answer(launch.sent[-1][1]) == launch.received[-1]


# -- an enclave, or the way to it, that gives none --------------------------------------------------------------------


@pytest.mark.parametrize("spoil", [
    lambda outcome: outcome[:-RECEIPT_ROOM] + bytes(RECEIPT_ROOM),
    lambda outcome: outcome[:-1] + bytes([outcome[-1] ^ 1]),
    lambda outcome: outcome[:-RECEIPT_ROOM] + bytes([outcome[-RECEIPT_ROOM] ^ 1]) + outcome[1 - RECEIPT_ROOM :],
], ids=["none", "another signature", "another salt"])  # fmt: skip
def test_an_answer_without_its_receipt_is_refused_by_its_user(
    world: QueryWorld, spoil: Callable[[bytes], bytes]
) -> None:
    launch = world.launch()
    attach = launch.receipts.attach
    object.__setattr__(launch.receipts, "attach", lambda *of: spoil(attach(*of)))
    with pytest.raises(AuthenticityError, match=r"authenticity\.receipt"):
        asked(world, launch)


def test_a_receipt_that_its_enclave_dates_before_its_quote_is_refused_by_its_user(world: QueryWorld) -> None:
    """A host holds the enclave's clock back: by its time the collateral was not there yet."""
    launch = world.launch()
    object.__setattr__(launch.receipts, "now", lambda: world.now() - YEAR)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        asked(world, launch)


# -- forged, altered, swapped, stale ----------------------------------------------------------------------------------

OTHER = Digest("1" * 64)
ALTERED: dict[str, Any] = {
    "query": OTHER,
    "answer": OTHER,
    "user": SigningKey.generate().party,
    "grant": GrantId.of(OTHER),
    "answers_left": 97,
    "model_id": ModelId.of(OTHER),
    "manifest": OTHER,
    "placement": OTHER,
    "measurement": CodeMeasurement("5b" * 32),
    "signature": bytes(64),
}


@pytest.mark.parametrize("field", [*ALTERED, "time"])
def test_an_altered_receipt_is_refused(world: QueryWorld, field: str) -> None:
    file = asked(world).file
    value = ALTERED.get(field, file.receipts[0].time + 1)
    with pytest.raises(AuthenticityError, match=r"authenticity\.receipt"):
        verify(world, with_receipt(file, file.receipts[0].model_copy(update={field: value})))


def test_every_field_of_a_receipt_is_signed() -> None:
    assert set(ALTERED) | {"time", "launch", "type", "version"} == set(Receipt.model_fields)


def test_a_receipt_forged_under_a_key_of_ones_own_has_no_evidence(world: QueryWorld) -> None:
    file, own = asked(world).file, SigningKey.generate()
    forged = sign_receipt(file.receipts[0].model_copy(update={"launch": own.party, "answers_left": 5}), own)
    with pytest.raises(AuthenticityError, match=r"authenticity\.receipt"):
        verify(world, with_receipt(file, forged))


def test_evidence_of_a_genuine_enclave_does_not_speak_for_a_key_of_ones_own(world: QueryWorld) -> None:
    """The binding names the forger's key, so it is not what the quote binds."""
    file, own = asked(world).file, SigningKey.generate()
    proof = file.proofs[0]
    proof = proof.model_copy(update={"binding": proof.binding.model_copy(update={"signing_public": own.party})})
    forged = sign_receipt(file.receipts[0].model_copy(update={"launch": own.party}), own)
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        verify(world, file.model_copy(update={"receipts": (forged,), "proofs": (proof,)}))


def test_an_enclave_of_ones_own_without_the_brokers_placement_is_refused(world: QueryWorld) -> None:
    """Genuine code, launched by the forger, who plays the broker to it."""
    mine, world.broker = world.broker, SigningKey.generate()
    file = asked(world).file
    world.broker = mine
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        verify(world, file)


def test_a_placement_of_another_launch_is_refused(world: QueryWorld) -> None:
    file, other = asked(world).file, asked(world).file
    proof = file.proofs[0].model_copy(update={"placement": other.proofs[0].placement})
    with pytest.raises(AppraisalError, match=r"appraisal\.binding"):
        verify(world, file.model_copy(update={"proofs": (proof,)}))


def test_a_launch_that_signs_another_placement_or_measurement_than_its_own_is_refused(world: QueryWorld) -> None:
    """What no genuine enclave does; the verifier does not take its word."""
    launch = world.launch()
    file = asked(world, launch).file
    for lie in ({"placement": OTHER}, {"measurement": CodeMeasurement("5b" * 32)}):
        signed = sign_receipt(file.receipts[0].model_copy(update=lie), launch.signing)
        with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
            verify(world, with_receipt(file, signed))


def test_a_receipt_after_its_placement_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    file, end = asked(world, launch).file, Placement.decode(launch.placement.payload).not_after
    late = sign_receipt(file.receipts[0].model_copy(update={"time": end + 1}), launch.signing)
    with pytest.raises(FreshnessError, match=r"freshness\.placement"):
        verify(world, with_receipt(file, late))


def test_another_answers_opening_is_refused(world: QueryWorld) -> None:
    session = world.session(world.launch())
    mine, other = session.receipt_book(), session.receipt_book()
    session.ask(rows_of(1), book=mine)
    session.ask(rows_of(2), book=other)
    for what in ("query", "answer"):
        with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
            verify(world, mine.file, other.openings(what))


@pytest.mark.parametrize("what", ["query", "answer"])
def test_a_changed_content_or_salt_is_refused(world: QueryWorld, what: Any) -> None:
    book = asked(world)
    good = book.openings(what).openings[0]
    for bad in (
        good.model_copy(update={"content": good.content[:-1] + bytes([good.content[-1] ^ 1])}),
        good.model_copy(update={"content": good.content + b"\0"}),
        good.model_copy(update={"salt": bytes(32)}),
    ):
        with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
            verify(world, book.file, ReceiptOpenings(opens=what, openings=(bad,)))


def test_a_query_shown_as_the_answer_is_refused(world: QueryWorld) -> None:
    book = asked(world)
    with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
        verify(world, book.file, ReceiptOpenings(opens="answer", openings=book.openings("query").openings))


def test_an_opening_too_few_or_in_another_order_is_refused(world: QueryWorld) -> None:
    session = world.session(world.launch())
    book = session.receipt_book()
    session.ask_all(rows_of(ROWS + 1), book)
    first, second = book.openings("answer").openings
    for some in ((first,), (second, first), (first, second, second)):
        with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
            verify(world, book.file, ReceiptOpenings(opens="answer", openings=some))


def test_another_models_receipt_is_refused(world: QueryWorld) -> None:
    """Both are genuine; the other model's is shown as this one's."""
    wanted, world.manifest = world.model_id, world.make_manifest(b"model two")
    file = asked(world).file
    verify(world, file)
    with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
        verify(world, file, model_id=wanted)


def test_another_users_receipt_is_refused(world: QueryWorld) -> None:
    mine, world.user = world.user, SigningKey.generate()
    file = asked(world).file
    verify(world, file)
    with pytest.raises(AppraisalError, match=r"appraisal\.receipt"):
        verify(world, file, user=mine.party)


def test_the_evidence_of_another_user_or_answer_changes_nothing(world: QueryWorld) -> None:
    """Receipts of one launch share its evidence; each stands for itself alone."""
    launch = world.launch()
    mine = asked(world, launch)
    world.user = SigningKey.generate()
    other = asked(world, launch)
    mixed = with_receipt(mine.file, other.receipts[0].model_copy(update={"user": mine.receipts[0].user}))
    with pytest.raises(AuthenticityError, match=r"authenticity\.receipt"):
        verify(world, mixed)


def test_code_that_the_pinned_release_does_not_name_any_more_is_refused(world: QueryWorld) -> None:
    """The verifier has pinned the next release; by its digest, which is named on purpose, the old one still counts."""
    file, old = asked(world).file, world.pins
    newest = replace(old, release=world.sign_release(MrEnclave("5c" * 32)))
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        verify(world, file, query=newest)
    verify(world, file, query=old)


def test_a_stale_measurement_under_the_same_release_is_refused(world: QueryWorld) -> None:
    """An enclave of other code, which some broker placed all the same."""
    launch = world.launch()
    file = asked(world, launch).file
    old = world.platform.evidence(MrEnclave("5b" * 32), launch.binding.report_data())
    stale = sign_receipt(
        file.receipts[0].model_copy(update={"measurement": CodeMeasurement("5b" * 32)}), launch.signing
    )
    proof = file.proofs[0].model_copy(update={"evidence": old})
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        verify(world, file.model_copy(update={"receipts": (stale,), "proofs": (proof,)}))


def test_a_receipt_under_another_root_is_refused(world: QueryWorld, tmp_path: Path) -> None:
    other = QueryWorld(tmp_path)
    file = asked(other).file
    trusted = replace(other.pins, trust=other.trust.model_copy(update={"allowed_roots": world.trust.allowed_roots}))
    with pytest.raises(Refusal, match=r"appraisal\.root|authenticity\.quote"):
        verify(other, file, query=trusted)


def test_a_simulated_enclaves_receipt_is_refused_by_who_wants_real_hardware(world: QueryWorld) -> None:
    file = asked(world).file
    with pytest.raises(AppraisalError, match=r"appraisal\.trust_level"):
        verify(world, file, query=replace(world.pins, floor=TrustLevel.SGX))


# -- by hand ----------------------------------------------------------------------------------------------------------


def person(world: QueryWorld, home: Path) -> None:
    """Somebody else, who has pinned the installation; there is no service to reach."""
    genesis = Genesis(
        signing_public=world.broker.party, wrapping_public=world.launch().wrapping.public, witnesses=(),
        witness_quorum=0, created=1,
    )  # fmt: skip
    party = Party.create(home / "ann", "ann", unsafe_simulation=True)
    endpoints = Endpoints(attestation=NOWHERE, ingest=NOWHERE, query=NOWHERE)
    party.pin(PinnedTrust(endpoints=endpoints, trust_settings=world.trust, release=world.release, broker=genesis))


def test_the_command_verifies_files_and_says_what_is_wrong(world: QueryWorld, tmp_path: Path) -> None:
    person(world, tmp_path)
    asked(world).write(tmp_path / "r")
    assert {one.stat().st_mode & 0o777 for one in tmp_path.glob("r*")} == {0o600}

    def receipt(*words: str) -> Result:
        return CliRunner().invoke(main, ["verify", "receipt", *words, "--home", str(tmp_path), "--as", "ann"])

    path = str(tmp_path / "r")
    told = receipt(path, "--query", f"{path}.query", "--answer", f"{path}.answer", "--user", world.user.party)
    assert told.exit_code == 0, told.output
    labels = " ".join(map(str, (rows_of(2) @ WEIGHTS_CF.T).argmax(axis=1)))
    assert f"labels {labels}" in " ".join(told.output.split())
    assert receipt(path, "--release", world.release.digest).exit_code == 0
    asked(world).write(tmp_path / "s")
    for words, code in (
        ((path, "--answer", f"{path}.query"), "format.receipt"),
        ((path, "--answer", str(tmp_path / "s.answer")), "appraisal.receipt"),
        ((path, "--user", world.owner.party), "appraisal.receipt"),
        ((path, "--model", ModelId.of(OTHER)), "appraisal.receipt"),
        ((path, "--release", OTHER), "appraisal.release"),
        ((f"{path}.answer",), "format.message"),
        ((str(tmp_path / "none"),), "not_found.file"),
    ):
        refused = receipt(*words)
        assert (refused.exit_code, code in refused.output) == (1, True), (words, refused.output)


def test_a_receipt_that_is_damaged_anywhere_is_refused(world: QueryWorld) -> None:
    """A bit of its JSON: it is no message any more, or no receipt that stands; never another one that does."""
    file = asked(world).file
    raw = file.encode()
    start, end = raw.index(b'"receipts"'), raw.index(b'"proofs"')
    for at in range(start + 12, end - 3, 37):
        bad = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises((FormatError, AuthenticityError, AppraisalError, FreshnessError)):
            verify(world, ReceiptFile.decode(bad, limit=MAX_RECEIPT_FILE_BYTES))
