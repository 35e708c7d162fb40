"""What an authentic host claims; whether that is good enough is for the appraisal (side: verifier)."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.tpm_ima.ima_list import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMoment:
    """Where a TPM is in its life. `clock` counts milliseconds, and never back within one boot."""

    attestation_key: bytes
    clock: int
    reset_count: int
    restart_count: int
    firmware_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostClaims:
    """`endorsement_key` is the digest of its public area, which names the machine; `binding` what the quote was made
    for.

    `entries` is what ran until the quote, from the first file on. `has_boot_log`: one was shown, and gives `registers`.
    """

    trust_level: TrustLevel
    endorsement_key: Digest
    moment: HostMoment
    binding: bytes
    registers: Mapping[int, bytes]
    has_boot_log: bool
    entries: tuple[Measured, ...]
    signing_keys: tuple[bytes, ...]
