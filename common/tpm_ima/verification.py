"""Is this host's evidence authentic? Evidence, authorities, activations and a time in, claims out (side: verifier).

In this order, each raises:

  (1) quote, signature and both keys are well-formed; the attestation key may quote (`quote_format`, `key_areas`);
  (2) the TPM is real: certificates tie its endorsement key to an authority that the caller allows (`endorsement`);
  (3) the attestation key is in that TPM: its secret was read out of a credential for both (`endorsement`);
  (4) that key signed the quote, by its one scheme;
  (5) the registers are the quoted ones, and all that we want (`registers`);
  (6) the boot log, if one is shown, leaves these values in the registers of the boot (`boot_log`);
  (7) a prefix of IMA's list leaves the quoted value in register 10; it ends where the quote was made (`ima_replay`);
  (8) the list begins with this boot: boot_aggregate is the hash of the boot's registers.

The level is `tpm-ima`, and `simulation` for an emulator that says so in its certificate: its host can do everything.

What the caller must still do: hold the binding against what the launch had to bind (`require_host_binding`), the claims
against a profile (`appraise_host`), and, of a host that was seen before, the moment against the last one
(`require_continuous`).
"""

import hmac
from collections.abc import Collection, Mapping

from common.crypto.digests import sha256_raw
from common.crypto.tpm_keys import Activations
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import Digest
from common.messages.evidence import REPORT_DATA_BYTES, TrustLevel
from common.messages.host_evidence import HostEvidence
from common.tpm_ima.boot_log import parse_boot_log, replay_boot_log
from common.tpm_ima.claims import HostClaims, HostMoment
from common.tpm_ima.endorsement import parse_endorsement_key, require_activated, require_endorsed
from common.tpm_ima.ima_replay import quoted_entries, require_boot_aggregate
from common.tpm_ima.key_areas import HostKey, parse_host_key
from common.tpm_ima.quote_format import TpmSignature, parse_tpm_quote, parse_tpm_signature
from common.tpm_ima.registers import BOOT_REGISTERS, IMA_REGISTER, require_registers


def verify_host(
    evidence: HostEvidence, authorities: Collection[Digest], activations: Activations, at: int
) -> HostClaims:
    """The claims of an authentic host. `authorities` are EK roots by SHA-256 of their keys, `at` is in Unix seconds.

    Raises `FormatError` (1, 5, 6, 7), `AuthenticityError` (2, 4, 5), `AppraisalError` (2, 6, 7, 8) or `FreshnessError`
    (3).
    """
    quote, signature = parse_tpm_quote(evidence.attested), parse_tpm_signature(evidence.signature)  # (1)
    key, endorsement = parse_host_key(evidence.attestation_key), parse_endorsement_key(evidence.endorsement_key)  # (1)
    is_emulated = require_endorsed(endorsement, evidence.endorsement_certificates, authorities, at)  # (2)
    require_activated(evidence.activation, endorsement, key, activations)  # (3)
    require_signed(key, signature, evidence.attested)  # (4)
    registers = require_registers(quote, evidence.registers, signature.hash_name)  # (5)
    if evidence.boot_log:
        require_boot_log(evidence.boot_log, registers)  # (6)
    entries = quoted_entries(evidence.measurement_list, registers[IMA_REGISTER])  # (7)
    require_boot_aggregate(entries, registers)  # (8)
    return HostClaims(
        trust_level=TrustLevel.SIMULATION if is_emulated else TrustLevel.TPM_IMA,
        endorsement_key=endorsement.digest,
        moment=HostMoment(
            attestation_key=key.name,
            clock=quote.clock,
            reset_count=quote.reset_count,
            restart_count=quote.restart_count,
            firmware_version=quote.firmware_version,
        ),
        binding=quote.extra_data,
        registers=registers,
        has_boot_log=bool(evidence.boot_log),
        entries=entries,
        signing_keys=evidence.signing_keys,
    )


def host_binding(report_data: bytes) -> bytes:
    """What a host's quote says of a launch: 32 bytes, for TPMs without SHA-512 take no 64 (Part 2, TPM2B_DATA)."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes")
    return sha256_raw(report_data)


def require_host_binding(claims: HostClaims, report_data: bytes) -> None:
    """Raise `AppraisalError` (appraisal.binding) unless the quote was made for exactly this report data."""
    expected = host_binding(report_data)
    if not hmac.compare_digest(claims.binding, expected):
        raise AppraisalError("appraisal.binding", expected=expected.hex(), seen=claims.binding.hex())


def require_signed(key: HostKey, signature: TpmSignature, signed: bytes) -> None:
    """Raise `AuthenticityError` (authenticity.host) unless the key signed these bytes by its own scheme."""
    if (signature.scheme, signature.hash_name) != (key.scheme, key.hash_name):
        seen = f"{signature.scheme} over {signature.hash_name}"
        raise AuthenticityError("authenticity.host", expected=f"{key.scheme} over {key.hash_name}", seen=seen)
    key.public.verify(key.scheme, key.hash_name, signature.numbers, signed)


def require_boot_log(log: bytes, registers: Mapping[int, bytes]) -> None:
    """Raise `AppraisalError` (appraisal.host_log) unless the log leaves these values in the registers of the boot."""
    replayed = replay_boot_log(parse_boot_log(log))
    wrong = [number for number in BOOT_REGISTERS if replayed[number] != registers[number]]
    if wrong:
        raise AppraisalError("appraisal.host_log", expected="a boot log that gives the registers", seen=f"not {wrong}")
