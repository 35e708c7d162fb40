"""A token informs and opens nothing: the broker releases keys on fresh evidence alone."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from common.broker_channel import open_reply
from common.crypto.jws import sign_compact, thumbprint
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.errors import AuthenticityError, FormatError, Refusal
from common.identifiers import JobId
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.evidence import DcapQuote
from common.messages.launch_binding import LaunchBinding
from common.messages.refusal_detail import Refused
from common.messages.signed import Signature, Signed, open_signed
from common.messages.tokens import AttestationToken, IssueToken, ShowTokenKey, TokenKey, TokenKeyShown
from tests.fakes.broker_world import TRAINER, BrokerWorld
from tests.fakes.jwt_reader import JwtError, read_jwt


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


@pytest.fixture
def token(world: BrokerWorld, job_id: JobId) -> str:
    """A good token of an admitted trainer."""
    launch = world.launch(TRAINER, job_id, 1)
    body = IssueToken(job_id=job_id, launch=launch.signing_key.party)
    return world.channel().ask(body, AttestationToken).token


def challenged(world: BrokerWorld, job_id: JobId) -> tuple[Challenge, LaunchBinding]:
    challenge = world.channel().ask(IssueChallenge(role=TRAINER, job_id=job_id, slot=0), Challenge)
    binding = LaunchBinding(
        nonce=challenge.nonce, broker=challenge.broker, role=TRAINER, subject=challenge.subject, slot=0,
        attempt=challenge.attempt, wrapping_public=WrappingKey.generate().public,
        signing_public=SigningKey.generate().party,
    )  # fmt: skip
    return challenge, binding


def test_no_evidence_is_made_of_a_token(world: BrokerWorld, job_id: JobId, token: str) -> None:
    for quote in (token.encode(), token.split(".")[1].encode(), token.split(".")[2].encode()):
        challenge, binding = challenged(world, job_id)
        body = Admit(challenge_id=challenge.challenge_id, binding=binding, evidence=DcapQuote(quote=quote))
        with pytest.raises(FormatError):
            world.channel().ask(body, Admission)
    assert [one.slot for one in world.context.job(job_id).launches] == [1]


@pytest.mark.parametrize("kind", ["ear", "eat+jwt", "attestation-token", "token", "sgx-dcap"])
def test_no_request_of_the_broker_takes_a_token(world: BrokerWorld, job_id: JobId, token: str, kind: str) -> None:
    challenge, binding = challenged(world, job_id)
    evidence = world.runtime("trainer").evidence(binding.report_data())
    admit = Admit(challenge_id=challenge.challenge_id, binding=binding, evidence=evidence)
    request: dict[str, Any] = json.loads(BrokerRequest(nonce=secrets.token_bytes(32), body=admit).encode())
    request["body"]["evidence"] = {"type": kind, "token": token}
    raw = json.dumps(request).encode()
    reply = BrokerReply.decode(Signed.decode(world.handle(raw)).payload)
    assert reply.body == Refused(code="format.message")
    request["body"] = json.loads(admit.model_dump_json()) | {"token": token}
    raw = json.dumps(request).encode()
    assert BrokerReply.decode(Signed.decode(world.handle(raw)).payload).body == Refused(code="format.message")


def test_a_token_key_signs_no_document(world: BrokerWorld, job_id: JobId, token: str) -> None:
    """Its signatures are over JWS inputs; no reply, placement or other document of the broker is under this key."""
    document = world.channel().ask(ShowTokenKey(), TokenKeyShown).document
    key = open_signed(document, TokenKey, [world.genesis.signing_public]).key
    request = BrokerRequest(nonce=bytes(32), body=ShowTokenKey()).encode()
    raw = world.handle(request)
    with pytest.raises(AuthenticityError):
        open_reply(raw, request, key)
    head, claims, signature = token.split(".")
    forged = Signed(
        payload_type="placement", payload=f"{head}.{claims}".encode(),
        signatures=(Signature(signer=key, signature=signature.encode()[:64].ljust(64, b"0")),),
    )  # fmt: skip
    with pytest.raises(Refusal):
        open_signed(forged, TokenKey, [key])


def test_a_hosts_own_key_makes_tokens_that_its_certificate_betrays(world: BrokerWorld, job_id: JobId) -> None:
    """A host may serve any key set; the broker's signed word for the key is what it cannot make."""
    hosts = SigningKey.generate()
    token = sign_compact({"iat": 0, "exp": 1 << 40, "submods": {}}, hosts, kind="eat+jwt")
    honest = world.channel().ask(ShowTokenKey(), TokenKeyShown).document
    assert open_signed(honest, TokenKey, [world.genesis.signing_public]).key != hosts.party
    swapped = honest.model_copy(
        update={"payload": TokenKey(broker=world.genesis.digest, epoch=1, key=hosts.party).encode()}
    )
    with pytest.raises(AuthenticityError):
        open_signed(swapped, TokenKey, [world.genesis.signing_public])
    good = {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": thumbprint(world.genesis.signing_public)}
    with pytest.raises(JwtError):
        read_jwt(token, {"keys": [good]}, 1)


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA", "crit": ["b64"]}])
def test_the_reader_is_strict(world: BrokerWorld, job_id: JobId, token: str, header: dict[str, Any]) -> None:
    """Of the test's own reader: what it accepts above means something."""
    raw = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
    with pytest.raises(JwtError):
        read_jwt(".".join([raw, *token.split(".")[1:]]), {"keys": []}, world.time)
