"""What an enclave trusts: release keys and platform roots (side: enclave and host).

These settings are measured with the code, as a file in the enclave's snapshot: another release key or root is another
`mr_enclave`. So an enclave never takes a host's word about whom to believe, and no enclave has to contain another's
measurement: a signed release names them all.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.dcap.roots import INTEL_ROOT_KEY_SHA256
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import PartyKey
from common.messages.base import Message
from common.messages.evidence import AllowedRoot
from common.messages.platform_inventory import PlatformInventory
from common.messages.release import Release, ReleaseRevocation
from common.messages.signed import Signed, open_signed

TRUST_SETTINGS_FILE: Final = "trust_settings.json"
"""At the root of an enclave's code."""

MIN_PRODUCTION_SIGNATURES = 2
"""A production release is nobody's alone, least of all the operator's (ARCHITECTURE, decision 6)."""


class TrustSettings(Message):
    """Whom this enclave believes. `production` allows Intel's root alone and wants two release signatures or more."""

    type: Literal["trust-settings"] = "trust-settings"
    version: Literal[1] = 1
    release_keys: Annotated[tuple[PartyKey, ...], Field(min_length=1, max_length=16)]
    release_threshold: Annotated[int, Field(ge=1, le=16)]
    allowed_roots: Annotated[tuple[AllowedRoot, ...], Field(min_length=1, max_length=16)]
    production: bool

    @model_validator(mode="after")
    def _require_consistent(self) -> Self:
        if len(set(self.release_keys)) != len(self.release_keys) or self.release_threshold > len(self.release_keys):
            raise ValueError("release keys are distinct, and the threshold is within their number")
        if self.production and self.release_threshold < MIN_PRODUCTION_SIGNATURES:
            raise ValueError(f"production wants {MIN_PRODUCTION_SIGNATURES} release signatures or more")
        if self.production and any(root.root_key_sha256 != INTEL_ROOT_KEY_SHA256 for root in self.allowed_roots):
            raise ValueError("production allows Intel's root alone")
        return self


def measured_trust_settings() -> TrustSettings:
    """Those of this enclave, which lie beside its code. Raises `OSError` in a checkout, which has no such file."""
    return TrustSettings.decode((Path(__file__).parents[2] / TRUST_SETTINGS_FILE).read_bytes())


def require_release(signed: Signed, trust: TrustSettings) -> Release:
    """The release, signed by enough of the pinned keys. Raises `AppraisalError` (appraisal.release)."""
    try:
        return open_signed(signed, Release, trust.release_keys, threshold=trust.release_threshold)
    except AuthenticityError as cause:
        raise AppraisalError("appraisal.release", expected=cause.expected, seen=cause.seen) from cause


def require_release_revocation(signed: Signed, trust: TrustSettings) -> ReleaseRevocation:
    """The end of a release, signed by as many of the pinned keys as one needs. Raises `AuthenticityError`."""
    return open_signed(signed, ReleaseRevocation, trust.release_keys, threshold=trust.release_threshold)


def require_platform_inventory(signed: Signed, trust: TrustSettings) -> PlatformInventory:
    """The known and the revoked machines, signed likewise. Raises `AuthenticityError`."""
    return open_signed(signed, PlatformInventory, trust.release_keys, threshold=trust.release_threshold)
