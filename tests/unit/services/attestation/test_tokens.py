"""Attestation results: any JWT library reads them, and they say no more than the verifier found."""

import base64
import json
import secrets
from typing import Any

import pytest

from common.crypto.jws import public_jwk, thumbprint
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.errors import ConflictError, FreshnessError, NotFoundError, PolicyError, Refusal
from common.identifiers import JobId, MrEnclave, RoleName
from common.messages.admission import Admit, Challenge, IssueChallenge
from common.messages.broker_exchange import BrokerRequest
from common.messages.launch_binding import LaunchBinding
from common.messages.signed import open_signed
from common.messages.tokens import AppraiseEvidence, AttestationToken, IssueToken, ShowTokenKey, TokenKey, TokenKeyShown
from services.attestation.token_routes import _jwk
from services.attestation.tokens import TOKEN_SECONDS
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, QUERY, TRAINER, BrokerWorld
from tests.fakes.jwt_reader import JwtError, read_jwt

NONCE = bytes(range(32))


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


def key_set(world: BrokerWorld) -> dict[str, Any]:
    return {"keys": [_jwk(world.channel().ask(ShowTokenKey(), TokenKeyShown).document)]}


def token_of(world: BrokerWorld, job_id: JobId, launch: Any, nonce: bytes = NONCE) -> str:
    body = IssueToken(job_id=job_id, launch=launch)
    return world.channel().ask_with_nonce(nonce, body, AttestationToken).token


def claims_of(world: BrokerWorld, token: str, later: int = 0) -> dict[str, Any]:
    return read_jwt(token, key_set(world), world.reply_time() + later)


class Showing:
    """A launch that has its challenge and shows evidence for a result, not for keys."""

    def __init__(self, world: BrokerWorld, job_id: JobId, role: RoleName = TRAINER) -> None:
        self.world = world
        self.key = SigningKey.generate()
        challenge = world.channel().ask(IssueChallenge(role=role, job_id=job_id, slot=0), Challenge)
        self.challenge_id = challenge.challenge_id
        self.binding = LaunchBinding(
            nonce=challenge.nonce, broker=challenge.broker, role=role, subject=challenge.subject, slot=0,
            attempt=challenge.attempt, wrapping_public=WrappingKey.generate().public, signing_public=self.key.party,
        )  # fmt: skip

    def body(self, measurement: MrEnclave | None = None) -> AppraiseEvidence:
        evidence = self.world.runtime(self.binding.role, measurement).evidence(self.binding.report_data())
        return AppraiseEvidence(challenge_id=self.challenge_id, binding=self.binding, evidence=evidence)

    def token(self, measurement: MrEnclave | None = None) -> str:
        return self.world.channel().ask_with_nonce(NONCE, self.body(measurement), AttestationToken).token


def test_a_token_of_an_admitted_launch_in_the_ear_form(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(TRAINER, job_id, 1)
    claims = claims_of(world, token_of(world, job_id, launch.signing_key.party))
    assert claims == {
        "eat_profile": "tag:github.com,2023:veraison/ear",
        "iss": f"cloister:broker:{world.genesis.digest}",
        "iat": world.time,
        "exp": world.time + 300,
        "eat_nonce": base64.urlsafe_b64encode(NONCE).decode().rstrip("="),
        "ear.verifier-id": {"build": MEASUREMENTS["broker"], "developer": "cloister"},
        "cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": public_jwk(launch.signing_key.party)["x"]}},
        "submods": {
            "trainer": {
                "ear.status": "contraindicated",
                "ear.trustworthiness-vector": {
                    "instance-identity": 97, "configuration": 2, "executables": 3, "hardware": 97,
                    "runtime-opaque": 96,
                },
                "ear.appraisal-policy-id": f"cloister:release:{world.release.digest}",
                "cloister.trust-level": "simulation",
                "cloister.tcb-status": "UpToDate",
                "cloister.appraised-at": world.time,
                "cloister.measurement": MEASUREMENTS["trainer"],
                "cloister.job": job_id,
                "cloister.slot": 1,
                "cloister.attempt": 1,
            }
        },
    }  # fmt: skip


def test_any_jwt_library_verifies_it(world: BrokerWorld, job_id: JobId) -> None:
    jwt = pytest.importorskip("jwt", reason="PyJWT comes with requirements/dev.txt")
    token = token_of(world, job_id, world.launch(TRAINER, job_id).signing_key.party)
    keys = jwt.PyJWKSet.from_dict(key_set(world))
    header = jwt.get_unverified_header(token)
    options = {"require": ["exp", "iat"], "verify_iat": False}  # the test's clock is an hour ahead
    claims = jwt.decode(token, keys[header["kid"]], algorithms=["EdDSA"], options=options)
    assert claims["submods"]["trainer"]["ear.status"] == "contraindicated"
    assert header == {"alg": "EdDSA", "kid": keys.keys[0].key_id, "typ": "eat+jwt"}
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token[:-8] + "AAAAAAAA", keys[header["kid"]], algorithms=["EdDSA"], options=options)


def test_it_lives_five_minutes(world: BrokerWorld, job_id: JobId) -> None:
    token = token_of(world, job_id, world.launch(TRAINER, job_id).signing_key.party)
    assert claims_of(world, token, TOKEN_SECONDS - 1)
    with pytest.raises(JwtError, match="time"):
        claims_of(world, token, TOKEN_SECONDS)
    with pytest.raises(JwtError, match="time"):
        claims_of(world, token, -1)


def test_a_changed_token_is_nobodys(world: BrokerWorld, job_id: JobId) -> None:
    token = token_of(world, job_id, world.launch(TRAINER, job_id).signing_key.party)
    keys, at = key_set(world), world.reply_time()
    for position in range(0, len(token), 7):
        changed = token[:position] + ("A" if token[position] != "A" else "B") + token[position + 1 :]
        with pytest.raises(JwtError):
            read_jwt(changed, keys, at)


def test_the_token_key_is_certified_by_the_quoted_key_and_dies_with_the_enclave(
    world: BrokerWorld, job_id: JobId
) -> None:
    token = token_of(world, job_id, world.launch(TRAINER, job_id).signing_key.party)
    (key,) = key_set(world)["keys"]
    shown = world.channel().ask(ShowTokenKey(), TokenKeyShown)
    document = open_signed(shown.document, TokenKey, [world.genesis.signing_public])
    assert (document.broker, document.epoch) == (world.genesis.digest, world.context.state.log.epoch)
    assert (key["kid"], key["x"]) == (thumbprint(document.key), public_jwk(document.key)["x"])
    assert document.key != world.genesis.signing_public
    assert key["cloister_certificate"]
    world.restart()
    with pytest.raises(JwtError, match="key"):
        claims_of(world, token)


def test_thumbprint_is_that_of_rfc_8037() -> None:
    """RFC 8037, appendix A.3."""
    party = SigningKey.from_seed(base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")).party
    assert public_jwk(party)["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert thumbprint(party) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_tokens_of_fenced_unknown_and_ended_launches(world: BrokerWorld, job_id: JobId) -> None:
    first = world.launch(TRAINER, job_id)
    second = world.launch(TRAINER, job_id)
    with pytest.raises(NotFoundError, match=r"not_found\.launch"):
        token_of(world, job_id, first.signing_key.party)
    with pytest.raises(NotFoundError, match=r"not_found\.launch"):
        token_of(world, job_id, SigningKey.generate().party)
    assert token_of(world, job_id, second.signing_key.party)
    world.finish(job_id)
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):
        token_of(world, job_id, second.signing_key.party)


def test_a_query_enclaves_token_ends_with_its_placement_and_with_the_model(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle()
    job_id = world.start_job(data, bundle)
    world.finish(job_id)
    launch = world.launch(QUERY, job_id).signing_key.party
    assert claims_of(world, token_of(world, job_id, launch))["submods"]["query"]["cloister.attempt"] == 1
    world.revoke(world.owner, "job", job_id)
    with pytest.raises(PolicyError, match=r"policy\.revoked"):
        token_of(world, job_id, launch)


def test_a_placement_that_is_over_gets_no_token(world: BrokerWorld) -> None:
    job_id = world.start_job(world.register_data(not_after=world.time + 10 * 86_400))
    world.finish(job_id)
    launch = world.launch(QUERY, job_id).signing_key.party
    world.time += 86_401
    with pytest.raises(Refusal):
        token_of(world, job_id, launch)


def test_fresh_evidence_gets_a_token_and_admits_nobody(world: BrokerWorld, job_id: JobId) -> None:
    showing = Showing(world, job_id)
    log_size = world.head.size
    claims = claims_of(world, showing.token())
    assert claims["cnf"]["jwk"]["x"] == public_jwk(showing.key.party)["x"]
    assert claims["submods"]["trainer"]["cloister.measurement"] == MEASUREMENTS["trainer"]
    assert world.context.job(job_id).launches == ()
    assert world.head.size == log_size + 1, "what was said of it"
    assert world.launch(TRAINER, job_id).attempt == 1


def test_evidence_that_no_admission_would_take_gets_no_token(world: BrokerWorld, job_id: JobId) -> None:
    with pytest.raises(Refusal, match=r"appraisal\.measurement"):
        Showing(world, job_id).token(MEASUREMENTS["query"])
    spent = Showing(world, job_id)
    spent.token()
    with pytest.raises(FreshnessError, match=r"freshness\.challenge"):
        spent.token()


def test_a_frozen_broker_signs_none(tmp_path: Any) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    assert key_set(world)
    with pytest.raises(Refusal, match=r"unavailable\.frozen"):
        token_of(world, JobId("job_" + "1" * 32), SigningKey.generate().party)


def test_the_parameter_server_too(world: BrokerWorld, job_id: JobId) -> None:
    launch = world.launch(PARAMSERVER, job_id)
    assert "paramserver" in claims_of(world, token_of(world, job_id, launch.signing_key.party))["submods"]


def test_it_says_nothing_that_names_a_machine(world: BrokerWorld, job_id: JobId) -> None:
    """No PPID, FMSPC or platform instance: tokens travel further than evidence."""
    launch = world.launch(TRAINER, job_id)
    token = token_of(world, job_id, launch.signing_key.party)
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert "c0ffee" not in json.dumps(payload).lower()


def test_what_spends_a_challenge_for_a_token_cannot_be_admitted_with_it(world: BrokerWorld, job_id: JobId) -> None:
    showing = Showing(world, job_id)
    body = showing.body()
    showing.token()
    admit = Admit(challenge_id=body.challenge_id, binding=body.binding, evidence=body.evidence)
    request = BrokerRequest(nonce=secrets.token_bytes(32), body=admit)
    assert b"freshness.challenge" in base64.b64decode(json.loads(world.handle(request.encode()))["payload"] + "==")
