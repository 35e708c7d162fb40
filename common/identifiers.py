"""Identifiers are types, so that a swapped argument is a type error (side: library).

Every identifier is a `str` that has been checked against its pattern when it was made; `parse` and the constructor are
the same thing. Derived identifiers (`JobId.of`) make a second submission of the same signed bytes name the same thing.
"""

import re
import secrets
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from common.errors import FormatError

_HEX32 = r"[0-9a-f]{64}"


class Identifier(str):
    """Base: a checked string. Raises `FormatError` (format.identifier) when the text does not match."""

    __slots__ = ()
    pattern: ClassVar[str] = r"[a-z0-9_]{1,80}"
    _form: ClassVar[re.Pattern[str]] = re.compile(pattern)

    def __init_subclass__(cls) -> None:
        cls._form = re.compile(cls.pattern)

    def __new__(cls, text: str) -> Self:
        if not isinstance(text, str) or cls._form.fullmatch(text) is None:
            raise FormatError("format.identifier", expected=f"{cls.__name__} matching {cls.pattern}")
        return super().__new__(cls, text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._from_wire,
            core_schema.str_schema(pattern=f"^{cls.pattern}$"),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def _from_wire(cls, text: str) -> Self:
        return str.__new__(cls, text)


class HexBytes32(Identifier):
    """32 bytes in lower-case hexadecimal."""

    __slots__ = ()
    pattern = _HEX32

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The identifier of 32 raw bytes."""
        return cls(raw.hex())

    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self)


class HexBytes48(Identifier):
    """48 bytes in lower-case hexadecimal: a SHA-384 register of a trust domain (Intel TDX module spec, MRTD, RTMR)."""

    __slots__ = ()
    pattern = r"[0-9a-f]{96}"


class Fmspc(Identifier):
    """A processor family, model, stepping, platform type and custom SKU: 6 bytes in lower-case hexadecimal (Intel)."""

    __slots__ = ()
    pattern = r"[0-9a-f]{12}"


class PlatformId(Identifier):
    """One platform: its PPID or platform instance id, 16 bytes in lower-case hexadecimal (PCK certificate)."""

    __slots__ = ()
    pattern = r"[0-9a-f]{32}"


class ChipId(Identifier):
    """One AMD processor: the CHIP_ID of its reports and hwID of its VCEK, 8 bytes on Turin and 64 before, in lower-case
    hexadecimal (AMD 57230, hwID).
    """

    __slots__ = ()
    pattern = r"(?:[0-9a-f]{16}|[0-9a-f]{128})"


class Digest(HexBytes32):
    """SHA-256 of something; what, the field's name says."""

    __slots__ = ()


class PartyKey(HexBytes32):
    """The Ed25519 public key that is a party's identity."""

    __slots__ = ()


class CodeMeasurement(Identifier):
    """What a TEE measures of code at its start, in lower-case hexadecimal: MRENCLAVE (32 bytes) or MRTD (48)."""

    __slots__ = ()
    pattern = r"(?:[0-9a-f]{64}|[0-9a-f]{96})"


class MrEnclave(HexBytes32, CodeMeasurement):
    """The measurement of an enclave (Intel SDM vol. 3D: MRENCLAVE, SHA-256)."""

    __slots__ = ()


class _Derived(Identifier):
    __slots__ = ()
    prefix: ClassVar[str] = ""

    @classmethod
    def of(cls, digest: Digest) -> Self:
        """The identifier that belongs to the signed bytes with this digest (128 bits of it)."""
        return cls(f"{cls.prefix}_{digest[:32]}")

    @classmethod
    def new(cls) -> Self:
        """A random identifier (128 bits)."""
        return cls(f"{cls.prefix}_{secrets.token_hex(16)}")


class JobId(_Derived):
    """A job: derived from the digest of its signed order."""

    __slots__ = ()
    prefix = "job"
    pattern = r"job_[0-9a-f]{32}"


class DatasetId(_Derived):
    """A data set: derived from its registration (owner key, root digest of version 1)."""

    __slots__ = ()
    prefix = "data"
    pattern = r"data_[0-9a-f]{32}"


class BundleId(_Derived):
    """A provider's sealed code bundle."""

    __slots__ = ()
    prefix = "bundle"
    pattern = r"bundle_[0-9a-f]{32}"


class ModelId(_Derived):
    """A sealed model: derived from the job that made it."""

    __slots__ = ()
    prefix = "model"
    pattern = r"model_[0-9a-f]{32}"


class UploadId(_Derived):
    """A resumable upload."""

    __slots__ = ()
    prefix = "upload"
    pattern = r"upload_[0-9a-f]{32}"


class ChallengeId(_Derived):
    """A single-use challenge of one broker instance."""

    __slots__ = ()
    prefix = "challenge"
    pattern = r"challenge_[0-9a-f]{32}"


class GrantId(_Derived):
    """A user's grant: derived from the digest of its signed bytes."""

    __slots__ = ()
    prefix = "grant"
    pattern = r"grant_[0-9a-f]{32}"


class SessionId(_Derived):
    """A user's session with one query enclave launch."""

    __slots__ = ()
    prefix = "session"
    pattern = r"session_[0-9a-f]{32}"


class QueryId(_Derived):
    """One query as the untrusted queue names it; random, says nothing."""

    __slots__ = ()
    prefix = "query"
    pattern = r"query_[0-9a-f]{32}"


class RequestKeyId(_Derived):
    """A request key (common/crypto/request_keys) as a query front names it; random, says nothing."""

    __slots__ = ()
    prefix = "request"
    pattern = r"request_[0-9a-f]{32}"


class RoleName(Identifier):
    """A registered enclave role: broker, trainer, paramserver, query."""

    __slots__ = ()
    pattern = r"[a-z][a-z_]{1,30}"
