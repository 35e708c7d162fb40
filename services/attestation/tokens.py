"""Attestation results for others: signed tokens in the IETF EAR form (side: enclave).

    issue-token         of a launch that was admitted and that nobody fenced since
    appraise-evidence   of a launch that shows fresh evidence over a challenge of ours, and wants no keys

A token informs whoever trusts this verifier. It opens nothing here: keys are released on evidence alone, and no request
of the broker takes a token. Each that leaves is in the decision log, one by one or by number (`token_log`), and the
witnesses have confirmed that. Before one is signed, each raises:

  (1) the launch holds its slot (its placement lasts), or passes the checks (1) to (5) of `admission`;
  (2) nothing that its role gets a key of is revoked, expired or over, as for a new launch.

Tokens are signed by a key of their own, born at each start of the enclave and gone with it. The broker's lasting key,
which its quote binds, signs it as `token-key`; so no host can put another key in the key set. What a token's times are
worth is what the host's clock is worth; a reader who needs freshness sends a nonce of his own and finds it in
`eat_nonce`. Source: draft-ietf-rats-ear (profile of 2023, as deployed libraries read it), RFC 9711, RFC 7519, RFC 7800.
"""

from dataclasses import replace
from typing import Any, Final

from common.crypto.digests import sha256
from common.crypto.jws import base64url, public_jwk, sign_compact, thumbprint
from common.errors import NotFoundError
from common.identifiers import PartyKey
from common.messages.signed import sign
from common.messages.tokens import AppraiseEvidence, AttestationToken, IssueToken, TokenKey, TokenKeyShown
from services.attestation.admission import appraise_newcomer, launch_record, require_admissible
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.log_subjects import of_job, of_launch
from services.attestation.members import QUERY
from services.attestation.records import JobRecord, LaunchRecord
from services.attestation.release_choice import release_of_launch
from services.attestation.trust_vector import status_of, trust_vector

PROFILE: Final = "tag:github.com,2023:veraison/ear"
TOKEN_SECONDS: Final = 300
MEDIA_KIND: Final = "eat+jwt"
"""RFC 9782: `application/eat+jwt`."""

DEVELOPER: Final = "cloister"


def issue_token(broker: BrokerContext, body: IssueToken, nonce: bytes, at: int) -> AttestationToken:
    """Of an admitted launch, as it was appraised then. Raises `NotFoundError` (1) or what an admission raises (2)."""
    job = broker.job(body.job_id)
    launch = _live(job, body.launch, at)  # (1)
    require_admissible(broker, job, launch.role, at)  # (2)
    named = {"role": launch.role, "slot": launch.slot, "attempt": launch.attempt, "launch": launch.signing_public}
    subjects = of_job(broker, job, measurement=launch.mr_enclave, **named)
    return _issue(broker, Decision("issue-token", subjects), _claims(broker, job, launch, nonce, at), at)


def appraise_evidence(broker: BrokerContext, body: AppraiseEvidence, nonce: bytes, at: int) -> AttestationToken:
    """Spends the challenge, admits nobody, and leaves no trace but the token, its entry, and marks of newer collateral.

    Raises as an admission does (1, 2).
    """
    newcomer = appraise_newcomer(broker, body, at)
    job, launch = newcomer.job, launch_record(broker, newcomer.job, body.binding, newcomer.appraised, at)
    told = {"measurement": launch.mr_enclave, "release": release_of_launch(job, launch)}
    subjects = of_launch(broker, job, newcomer.challenge, body, **told)
    return _issue(broker, Decision("appraise-evidence", subjects), _claims(broker, job, launch, nonce, at), at)


def show_token_key(broker: BrokerContext) -> TokenKeyShown:
    """The key that signs tokens until this enclave ends, certified by the key that its quote binds."""
    document = TokenKey(broker=broker.broker, epoch=broker.state.log.epoch, key=broker.token_key.party)
    return TokenKeyShown(document=sign(document, broker.signing_key))


def _live(job: JobRecord, launch: PartyKey, at: int) -> LaunchRecord:
    for one in job.launches:
        if one.signing_public == launch and (one.role != QUERY or one.not_after >= at):
            return one
    raise NotFoundError("not_found.launch", seen=launch)


def _issue(broker: BrokerContext, decision: Decision, claims: dict[str, Any], at: int) -> AttestationToken:
    """Sign, and tell the log what leaves."""
    token = sign_compact(claims, broker.token_key, kind=MEDIA_KIND)
    told = {"document": sha256(token.encode()), "token_key": thumbprint(broker.token_key.party)}
    broker.tokens.note(replace(decision, subjects=decision.subjects.model_copy(update=told)), at)
    return AttestationToken(token=token)


def _claims(broker: BrokerContext, job: JobRecord, launch: LaunchRecord, nonce: bytes, at: int) -> dict[str, Any]:
    return {
        "eat_profile": PROFILE,
        "iss": f"cloister:broker:{broker.broker}",
        "iat": at,
        "exp": at + TOKEN_SECONDS,
        "eat_nonce": base64url(nonce),
        "ear.verifier-id": {"build": broker.platform.measurement, "developer": DEVELOPER},
        "cnf": {"jwk": public_jwk(launch.signing_public)},
        "submods": {str(launch.role): _appraisal(job, launch)},
    }


def _appraisal(job: JobRecord, launch: LaunchRecord) -> dict[str, Any]:
    """One EAR appraisal; members that begin with `cloister.` are ours and say what the numbers are made of."""
    appraised = launch.appraised
    vector = trust_vector(appraised.trust_level, appraised.tcb_status, exposed=appraised.exposed)
    return {
        "ear.status": status_of(vector),
        "ear.trustworthiness-vector": vector,
        "ear.appraisal-policy-id": f"cloister:release:{release_of_launch(job, launch)}",
        "cloister.trust-level": appraised.trust_level.value,
        "cloister.tcb-status": appraised.tcb_status.value,
        "cloister.appraised-at": appraised.at,
        "cloister.measurement": launch.mr_enclave,
        "cloister.job": job.job_id,
        "cloister.slot": launch.slot,
        "cloister.attempt": launch.attempt,
    }
