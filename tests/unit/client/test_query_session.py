"""What a user's machine checks before it seals a query, and how it carries on when the service stumbles."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from client.query_session import QuerySession, QueryUser
from common.crypto.signing import SigningKey
from common.dcap.collateral_memory import CollateralMemory, marks_of
from common.dcap.completion import complete_evidence
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import (
    AppraisalError,
    AuthenticityError,
    FormatError,
    FreshnessError,
    PolicyError,
    Refusal,
    UnavailableError,
)
from common.identifiers import Digest, MrEnclave, RoleName
from common.messages.evidence import Collateral, DcapQuote, TrustLevel
from common.messages.objects import ModelManifest
from common.messages.placement import QueryEnclaveProof
from common.messages.policy import QueryGrant
from common.messages.signed import sign
from services.query_enclave.blocks import BLOCK_ANSWERS
from tests.fakes.query_world import PROFILE, ROWS, WEIGHTS_CF, Launch, QueryWorld, rows_of


def refused(world: QueryWorld, launch: Launch, kind: type[Refusal], code: str, *, pins: object = None) -> None:
    """The client refuses, and has sent nothing but the question for a proof."""
    user = QueryUser(world.user, world.grant(), pins or world.pins)  # type: ignore[arg-type]
    with pytest.raises(kind, match=code):
        QuerySession.open(launch, user, pause=lambda _seconds: None)
    assert launch.sent == []


def test_a_genuine_launch_is_accepted(world: QueryWorld) -> None:
    session = world.session(world.launch())
    assert session.enclave.trust_level == TrustLevel.SIMULATION
    assert session.enclave.manifest_digest == world.manifest.digest
    assert session.quotes_verified == 1
    assert session.profile == PROFILE


def test_another_model_in_the_same_enclave_is_refused(world: QueryWorld) -> None:
    mine = world.manifest
    world.manifest = world.make_manifest(b"model two")
    other = world.launch()
    world.manifest = mine
    refused(world, other, AppraisalError, "appraisal.placement")


def test_another_models_placement_beside_the_right_binding_is_refused(world: QueryWorld) -> None:
    refused(world, world.launch(manifest=Digest("1" * 64)), AppraisalError, "appraisal.placement")


def test_a_manifest_that_is_not_the_granted_one_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.manifest = world.make_manifest(b"model two")
    refused(world, launch, AppraisalError, "appraisal.placement")


def test_another_manifest_of_the_same_model_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    other = ModelManifest.decode(world.manifest.payload).model_copy(update={"created": 7})
    launch.manifest = sign(other, world.owner)
    refused(world, launch, AppraisalError, "appraisal.placement")


def test_other_code_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.evidence = world.platform.evidence(MrEnclave("5b" * 32), launch.binding.report_data())
    refused(world, launch, AppraisalError, "appraisal.measurement")


def test_a_quote_of_another_launch_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.evidence = world.launch().evidence
    refused(world, launch, AppraisalError, "appraisal.binding")


def test_a_placement_of_another_launch_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.placement = world.launch().placement
    refused(world, launch, AppraisalError, "appraisal.binding")


def test_another_role_under_the_same_quote_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.binding = launch.binding.model_copy(update={"role": RoleName("trainer")})
    launch.evidence = world.platform.evidence(MrEnclave("5a" * 32), launch.binding.report_data())
    refused(world, launch, AppraisalError, "appraisal.placement")


def test_a_placement_by_another_broker_is_refused(world: QueryWorld) -> None:
    mine = world.broker
    world.broker = SigningKey.generate()
    launch = world.launch()
    world.broker = mine
    refused(world, launch, AuthenticityError, "authenticity.signature")


def test_an_expired_placement_is_refused(world: QueryWorld) -> None:
    refused(world, world.launch(not_after=int(time.time()) - 1), FreshnessError, "freshness.placement")


def test_a_platform_below_the_floor_is_refused(world: QueryWorld) -> None:
    refused(
        world, world.launch(), AppraisalError, "appraisal.trust_level", pins=replace(world.pins, floor=TrustLevel.SGX)
    )


def test_a_foreign_root_is_refused(world: QueryWorld) -> None:
    foreign = world.trust.model_copy(
        update={
            "allowed_roots": (world.platform.allowed_root.model_copy(update={"root_key_sha256": Digest("7" * 64)}),)
        }
    )
    refused(world, world.launch(), AppraisalError, "appraisal.root", pins=replace(world.pins, trust=foreign))


def test_a_release_by_a_foreign_key_is_refused(world: QueryWorld) -> None:
    foreign = world.trust.model_copy(update={"release_keys": (SigningKey.generate().party,)})
    refused(world, world.launch(), AppraisalError, "appraisal.release", pins=replace(world.pins, trust=foreign))


def test_a_release_that_the_grant_does_not_name_is_refused(world: QueryWorld) -> None:
    other = world.sign_release(MrEnclave("5c" * 32))
    refused(world, world.launch(), AppraisalError, "appraisal.release", pins=replace(world.pins, release=other))


def test_a_quote_that_carries_no_collateral_is_verified_with_what_is_brought_to_it(
    world: QueryWorld, tmp_path: Path
) -> None:
    """As hardware makes it."""
    launch = world.launch()
    brought = complete_evidence(launch.evidence).collateral
    launch.evidence = DcapQuote(quote=launch.evidence.quote)
    refused(world, launch, FormatError, "format.collateral")
    user = QueryUser(world.user, world.grant(), world.pins, lambda bare: complete_evidence(bare, brought))
    assert QuerySession.open(launch, user).quotes_verified == 1
    foreign = SimulatedPlatform.open_or_create(tmp_path / "elsewhere").collateral()
    lied_to = replace(user, complete=lambda bare: complete_evidence(bare, foreign))
    with pytest.raises(Refusal, match=r"(format|authenticity)\."):
        QuerySession.open(launch, lied_to)


def test_no_older_collateral_than_was_seen(world: QueryWorld) -> None:
    seen, launch = CollateralMemory(), world.launch()

    def remember(verified: Collateral) -> None:
        seen.remember(marks_of(verified))

    user = QueryUser(world.user, world.grant(), world.pins, remember=remember)
    assert QuerySession.open(launch, user).quotes_verified == 1
    sent, older = len(launch.sent), world.platform.pki.collateral(datetime.now(UTC) - timedelta(days=3))
    launch.evidence = launch.evidence.model_copy(update={"collateral": older})
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        QuerySession.open(launch, user)
    assert len(launch.sent) == sent


def test_a_changed_quote_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    quote = bytearray(launch.evidence.quote)
    quote[48 + 320] ^= 1  # report_data in the report body: Intel SDM vol. 3D, table 37-21
    launch.evidence = launch.evidence.model_copy(update={"quote": bytes(quote)})
    refused(world, launch, AuthenticityError, "authenticity.quote")


def test_wrong_rows_are_refused_before_anything_is_sent(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    for rows in (rows_of(ROWS + 1), rows_of(0), rows_of(1).astype(np.float64), rows_of(2)[:, :5], rows_of(2)[0]):
        with pytest.raises(FormatError, match="format.query"):
            session.ask(rows)
    for rows in (rows_of(0), np.array(3)):
        with pytest.raises(FormatError, match="format.query"):
            session.ask_all(rows)
    assert len(launch.sent) == 1


def test_many_rows_go_in_several_queries(world: QueryWorld) -> None:
    launch = world.launch()
    answer = world.session(launch).ask_all(rows_of(10))
    np.testing.assert_array_equal(answer.labels, (rows_of(10) @ WEIGHTS_CF.T).argmax(axis=1))
    assert answer.answers_left == 90
    assert launch.model.calls == 3


@pytest.mark.parametrize(("granted", "spent"), [(9, 0), (12, 5), (9 + BLOCK_ANSWERS, BLOCK_ANSWERS)])
def test_rows_that_the_grant_does_not_cover_cost_nothing(world: QueryWorld, granted: int, spent: int) -> None:
    launch = world.launch()
    session = QuerySession.open(launch, QueryUser(world.user, world.grant(answers=granted), world.pins))
    for _ in range(spent):
        session.ask(rows_of(1))
    launch.model.calls = 0
    with pytest.raises(PolicyError, match="policy.budget") as refusal:
        session.ask_all(rows_of(10))
    assert refusal.value.seen is not None
    assert launch.model.calls == 0
    left = granted - spent
    assert session.ask_all(rows_of(left)).answers_left == 0


class Stumbling:
    """A transport that loses the next `losses` answers after the enclave gave them."""

    def __init__(self, launch: Launch) -> None:
        self.launch, self.losses = launch, 0

    def get(self, path: str) -> bytes:
        """The proof."""
        return self.launch.get(path)

    def post(self, path: str, body: bytes) -> bytes:
        """The answer, or `UnavailableError` although there is one."""
        answer = self.launch.post(path, body)
        if self.losses:
            self.losses -= 1
            raise UnavailableError("unavailable.enclave")
        return answer


def test_a_lost_answer_is_asked_for_again_and_charged_once(world: QueryWorld) -> None:
    transport = Stumbling(world.launch())
    pauses: list[float] = []
    session = QuerySession.open(
        transport, QueryUser(world.user, world.grant(answers=10), world.pins), pause=pauses.append
    )
    transport.losses = 3
    assert session.ask(rows_of(2)).answers_left == 8
    assert transport.launch.model.calls == 1
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("code", ["unavailable.broker", "unavailable.frozen"])
def test_a_question_that_could_not_be_charged_is_asked_anew(world: QueryWorld, code: str) -> None:
    launch = world.launch()
    user = QueryUser(world.user, world.grant(answers=10), world.pins)
    session = QuerySession.open(launch, user, pause=lambda _seconds: setattr(world.ledger, "refusal", None))
    world.ledger.refusal = code
    assert session.ask(rows_of(2)).answers_left == 8
    assert (launch.model.calls, world.ledger.draws) == (1, 2)


def test_a_broker_that_stays_away_is_reported(world: QueryWorld) -> None:
    user = QueryUser(world.user, world.grant(answers=10), world.pins)
    session = QuerySession.open(world.launch(), user, pause=lambda _seconds: None)
    world.ledger.refusal = "unavailable.broker"
    with pytest.raises(UnavailableError, match="unavailable.broker"):
        session.ask(rows_of(2))


def test_a_service_that_stays_down_is_reported(world: QueryWorld) -> None:
    transport = Stumbling(world.launch())
    session = QuerySession.open(transport, QueryUser(world.user, world.grant(), world.pins), pause=lambda _s: None)
    transport.losses = 100
    with pytest.raises(UnavailableError, match="unavailable.enclave"):
        session.ask(rows_of(1))


def test_a_restarted_enclave_is_verified_anew(world: QueryWorld) -> None:
    transport = Stumbling(world.launch())
    session = QuerySession.open(transport, QueryUser(world.user, world.grant(), world.pins), pause=lambda _s: None)
    session.ask(rows_of(1))
    transport.launch = world.launch()
    assert session.ask(rows_of(1)).labels.shape == (1,)
    assert session.quotes_verified == 2


def test_a_restarted_enclave_with_another_model_is_refused(world: QueryWorld) -> None:
    transport = Stumbling(world.launch())
    session = QuerySession.open(transport, QueryUser(world.user, world.grant(), world.pins), pause=lambda _s: None)
    mine = world.manifest
    world.manifest = world.make_manifest(b"model two")
    transport.launch = world.launch()
    world.manifest = mine
    with pytest.raises(AppraisalError, match="appraisal.placement"):
        session.ask(rows_of(1))


def test_a_proof_of_a_launch_that_ended_is_asked_for_again(world: QueryWorld) -> None:
    old, new = world.launch(), world.launch()
    proofs = [old.proof, old.proof, new.proof]

    class Late(Stumbling):
        def get(self, path: str) -> bytes:
            assert path.endswith("/proof")
            return proofs.pop(0).encode()

    session = QuerySession.open(Late(new), QueryUser(world.user, world.grant(), world.pins), pause=lambda _s: None)
    assert session.quotes_verified == 3


def test_an_answer_to_another_query_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    first = launch.received[-1]
    launch.post = lambda _path, _body: first  # type: ignore[method-assign,assignment]
    with pytest.raises(AuthenticityError, match="authenticity.query"):
        session.ask(rows_of(1))


@pytest.mark.parametrize("change", [lambda answer: answer[:-1], lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])])
def test_a_changed_answer_is_refused(world: QueryWorld, change: object) -> None:
    launch = world.launch()
    session = world.session(launch)
    post = launch.post
    launch.post = lambda path, body: change(post(path, body))  # type: ignore[method-assign,operator]
    with pytest.raises(AuthenticityError, match="authenticity.query"):
        session.ask(rows_of(1))


def test_a_proof_with_unknown_fields_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    with pytest.raises(FormatError, match="format.message"):
        QueryEnclaveProof.decode(launch.proof.encode()[:-1] + b',"more":1}')


def test_a_document_that_is_no_placement_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    launch.placement = sign(QueryGrant.decode(world.grant().payload), world.broker)
    refused(world, launch, FormatError, "format.message")
