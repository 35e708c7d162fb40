"""One step of a TPM's counter, made for one head of one broker's log, and its proof (side: library).

The step is four commands in one audit session, which nothing else enters:

    TPM2_StirRandom(purpose)   purpose: what this step is for
    TPM2_NV_Read               the counter is `value`
    TPM2_NV_Increment
    TPM2_NV_Read               the counter is `value` + 1

The TPM keeps a running digest of what is executed in the session (Part 1, "Session Audit") and signs it on request.
None of the four answers holds anything that varies, so a verifier computes the digest from purpose and value alone. A
counter goes from `value` to `value` + 1 once in the life of its TPM, also if it is deleted and defined anew: one that
was never written begins above the largest count that any counter of that TPM ever had (TCG's reference code of
TPM2_NV_Increment, NvReadMaxCount; TPM2_Clear keeps it). So of all heads of all logs at most one gets a proof for this
value. A certified count alone (TPM2_NV_Certify) does not show that: two brokers would have the same increment
certified, each for itself.
"""

import struct
from typing import Final

from common.crypto.digests import sha256_raw, transcript
from common.crypto.labels import COUNTER_STEP
from common.crypto.tpm_keys import verify_ecdsa
from common.errors import AuthenticityError
from common.identifiers import Digest
from common.tpm.layouts import COUNTER_BYTES, ECDSA, SHA256, AttestationKey, counter_name, sized

STIR_RANDOM: Final = 0x00000146
NV_READ: Final = 0x0000014E
NV_INCREMENT: Final = 0x00000134
"""TPM_CC (Part 2)."""

READ_WHOLE: Final = struct.pack(">HH", COUNTER_BYTES, 0)
"""Parameters of TPM2_NV_Read: size and offset."""

_HEAD: Final = struct.Struct(">IH")
_GENERATED: Final = 0xFF544347
_SESSION_AUDIT: Final = 0x8016
_CLOCK_AND_FIRMWARE_BYTES: Final = 8 + 4 + 4 + 1 + 8
_DIGEST_BYTES: Final = 32


def step_purpose(broker: Digest, size: int, root: Digest) -> bytes:
    """32 bytes: broker genesis (32), log size (8, big-endian), root (32)."""
    return sha256_raw(transcript(COUNTER_STEP, broker.raw(), size.to_bytes(8, "big"), root.raw()))


def verify_step(key: AttestationKey, index: int, value: int, purpose: bytes, attested: bytes, signature: bytes) -> None:
    """Raise `AuthenticityError` (authenticity.tpm) unless the TPM of `key` made this step. In this order:

    (1) the key signed these bytes;
    (2) the TPM made them (TPM_GENERATED), and they tell of an audit session;
    (3) that session was the four commands, over the counter of this index, for this value and purpose.
    """
    verify_ecdsa(key.x, key.y, _parse_signature(signature), attested)  # (1)
    digest = _parse_audit(attested)  # (2)
    if digest != audit_digest(index, value, purpose):  # (3)
        raise AuthenticityError("authenticity.tpm", expected=f"a step from {value}, for this head", seen="another step")


def audit_digest(index: int, value: int, purpose: bytes) -> bytes:
    """The session's digest after a step (Part 1: cpHash, rpHash and session audit)."""
    both = 2 * counter_name(index)
    digest = bytes(_DIGEST_BYTES)
    for command, names, parameters, answer in (
        (STIR_RANDOM, b"", sized(purpose), b""),
        (NV_READ, both, READ_WHOLE, _count(value)),
        (NV_INCREMENT, both, b"", b""),
        (NV_READ, both, READ_WHOLE, _count(value + 1)),
    ):
        asked = sha256_raw(command.to_bytes(4, "big") + names + parameters)
        answered = sha256_raw(bytes(4) + command.to_bytes(4, "big") + answer)  # response code: success
        digest = sha256_raw(digest + asked + answered)
    return digest


def _count(value: int) -> bytes:
    return sized(value.to_bytes(COUNTER_BYTES, "big"))


def _parse_audit(attested: bytes) -> bytes:
    """sessionDigest of a TPMS_ATTEST of type session audit (Part 2), whole and nothing behind it."""
    magic, kind = _HEAD.unpack_from(attested) if len(attested) >= _HEAD.size else (0, 0)
    _signer, rest = _take_sized(attested[_HEAD.size :])
    _extra, rest = _take_sized(rest)
    digest, behind = _take_sized(rest[_CLOCK_AND_FIRMWARE_BYTES + 1 :])  # 1: whether the session was exclusive
    if (magic, kind) != (_GENERATED, _SESSION_AUDIT) or len(digest) != _DIGEST_BYTES or behind:
        raise AuthenticityError("authenticity.tpm", expected="what a TPM attests of an audit session")
    return digest


def _parse_signature(signature: bytes) -> tuple[int, int]:
    """r and s of a TPMT_SIGNATURE: ECDSA over SHA-256 (Part 2)."""
    r, rest = _take_sized(signature[4:])
    s, behind = _take_sized(rest)
    if signature[:4] != struct.pack(">HH", ECDSA, SHA256) or behind:
        raise AuthenticityError("authenticity.tpm", expected="an ECDSA signature over SHA-256")
    return int.from_bytes(r, "big"), int.from_bytes(s, "big")


def _take_sized(raw: bytes) -> tuple[bytes, bytes]:
    """A TPM2B and what is behind it."""
    end = 2 + int.from_bytes(raw[:2], "big")
    if len(raw) < max(end, 2):
        raise AuthenticityError("authenticity.tpm", expected="a whole structure of the TPM")
    return raw[2:end], raw[end:]
