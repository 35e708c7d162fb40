"""Events of what a party trusts: measured code, verified quotes and collateral, pinned roots (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import CodeMeasurement, Digest, Fmspc, MrEnclave, PartyKey
from common.messages.base import Count, Seconds
from common.messages.evidence import TrustLevel
from common.messages.tpm_counter import TpmCounter


class RoleMeasured(Event):
    """The measurement of one role, computed from this checkout; `released` is what a release states.

    `platform` is `simulation` for this checkout, `sgx` for what a `.sig` file of the same role says.
    """

    type: Literal["role-measured"] = "role-measured"
    role: str
    mr_enclave: CodeMeasurement
    platform: TrustLevel = TrustLevel.SIMULATION
    released: CodeMeasurement | None = None


class SigstructRead(Event):
    """What the signer of an SGX enclave says of it, read out of a `.sig` file whose signature was verified."""

    type: Literal["sigstruct-read"] = "sigstruct-read"
    file: str
    mr_enclave: MrEnclave
    mr_signer: MrEnclave
    isv_prod_id: Count
    isv_svn: Count
    debug: bool


class QuoteVerified(Event):
    """A quote was verified on this machine, with all its checks."""

    type: Literal["quote-verified"] = "quote-verified"
    role: str
    measurement: str
    trust_level: str


class Pinned(Event):
    """What this identity trusts from now on, by fingerprint. `fingerprint` is over all of it."""

    type: Literal["pinned"] = "pinned"
    fingerprint: Digest
    release: Digest
    release_name: str
    release_keys: tuple[PartyKey, ...]
    roots: tuple[Digest, ...]
    broker: Digest
    broker_key: PartyKey
    witnesses: tuple[PartyKey, ...]
    witness_quorum: Count
    tpm_counters: tuple[TpmCounter, ...] = ()
    trust_level: str
    stored: bool


class CounterReady(Event):
    """A TPM's counter is there. `counter` goes into the settings of the attestation service that will make a broker.

    `endorsement_key` in PEM is for whoever holds it against the certificate of the TPM's vendor.
    """

    type: Literal["counter-ready"] = "counter-ready"
    counter: TpmCounter
    endorsement_key: str
    made: bool


class HostProfileMade(Event):
    """A profile of what a measured host may run was signed."""

    type: Literal["host-profile-made"] = "host-profile-made"
    name: str
    number: Count
    files: Count
    digest: Digest
    signer: PartyKey
    place: str


class Verified(Event):
    """A stored document or object was checked."""

    type: Literal["verified"] = "verified"
    subject: str
    checks: tuple[str, ...]


class CollateralSeen(Event):
    """Collateral for one kind of CPU in an attestation service's cache. Times are Unix seconds.

    `issued` is the oldest issue date of its four documents, `next_update` when the first of them is overdue.
    """

    type: Literal["collateral-seen"] = "collateral-seen"
    name: str
    fmspc: Fmspc
    tcb_evaluation: Count
    qe_evaluation: Count
    issued: Seconds
    next_update: Seconds
    age_seconds: Seconds
    current: bool
    source: str
