"""Did an authentic host run what its profile allows, and nothing else? (side: verifier; RFC 9334 section 4)"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from common.crypto.digests import sha256
from common.crypto.tpm_signatures import is_file_signature
from common.errors import AppraisalError
from common.identifiers import Digest, PartyKey
from common.messages.host_profile import HostProfile, PathPattern, ProfileName
from common.messages.signed import Signed, open_signed
from common.tpm_ima.allowed_files import AllowedFiles
from common.tpm_ima.claims import HostClaims
from common.tpm_ima.ima_list import Measured

_SIGNATURE_HEAD: Final = bytes([3, 2])
_KERNEL_HASHES: Final = {4: "sha256", 5: "sha384", 6: "sha512"}
_HEAD_BYTES: Final = 9
"""security.ima (Linux, security/integrity/integrity.h): type EVM_IMA_XATTR_DIGSIG, version 2, hash 1, key id 4, size
2.
"""


def open_profile(documents: Mapping[str, Signed], name: str, holders: Collection[PartyKey]) -> HostProfile:
    """The profile that a policy calls `name`. In this order, each raises:

    (1) it is a name (`FormatError`, format.identifier); (2) there is one (`AppraisalError`, appraisal.host_profile): no
    profile allows nothing; (3) one of `holders` signed it (`AuthenticityError`), (4) by that name
    (appraisal.host_profile).
    """
    wanted = ProfileName(name)  # (1)
    if wanted not in documents:  # (2)
        raise AppraisalError("appraisal.host_profile", expected=f"a profile {wanted}", seen=sorted(documents))
    profile = open_signed(documents[wanted], HostProfile, holders)  # (3)
    if profile.name != wanted:  # (4)
        raise AppraisalError("appraisal.host_profile", expected=wanted, seen=profile.name)
    return profile


def appraise_host(claims: HostClaims, profile: HostProfile, files: AllowedFiles) -> None:
    """Hold a host against its profile. In this order, each raises `AppraisalError`:

    (1) these are the files that the profile names (appraisal.host_profile);
    (2) it booted as allowed: each register of the boot has a listed value, and a boot log is shown unless the profile
        does without (appraisal.host_boot);
    (3) every file that it ran until the quote is allowed: by path and digest, by exclusion of its path, or by a
        signature of a listed key; and none was written while it ran, unless the profile says that any may
        (appraisal.host_file).

    What is *not* checked: the binding, the trust level, whether the host is the same as before.
    """
    if files.digest != profile.files:  # (1)
        raise AppraisalError("appraisal.host_profile", expected=f"files {profile.files}", seen=files.digest)
    _require_boot(claims, profile)  # (2)
    excused = _Excused(profile, claims.signing_keys)
    allowed = files.claims
    for one in claims.entries[1:]:  # the first is the boot's
        if one.claim not in allowed:
            excused.require(one)  # (3)


def _require_boot(claims: HostClaims, profile: HostProfile) -> None:
    for number, values in profile.boot_registers.items():
        seen = Digest.of(claims.registers[int(number)])
        if seen not in values:
            raise AppraisalError("appraisal.host_boot", expected=f"register {number}: {sorted(values)}", seen=seen)
    if profile.boot_log == "required" and not claims.has_boot_log:
        raise AppraisalError("appraisal.host_boot", expected="a boot log")


class _Excused:
    """What may run though no file of the profile is it."""

    def __init__(self, profile: HostProfile, keys: Collection[bytes]) -> None:
        self._excluded, self._may_be_written = any_of(profile.exclusions), profile.violations == "any"
        self._keys = [key for key in keys if sha256(key) in profile.signing_keys]

    def require(self, one: Measured) -> None:
        if one.is_violation:
            if not self._may_be_written:  # whichever it was: nothing signed says that
                raise _outside(one, "no file that is written while it runs")
        elif self._excluded.fullmatch(one.path) is None and not self._is_signed(one):
            raise _outside(one, "a file of the profile")

    def _is_signed(self, one: Measured) -> bool:
        head, signature = one.signature[:_HEAD_BYTES], one.signature[_HEAD_BYTES:]
        algorithm, _, rest = one.claim.partition(b":")
        name = _KERNEL_HASHES.get(head[2]) if len(head) == _HEAD_BYTES else None
        if head[:2] != _SIGNATURE_HEAD or name != algorithm.decode() or head[7:] != len(signature).to_bytes(2, "big"):
            return False
        digest = bytes.fromhex(rest.split(b" ", 1)[0].decode())
        return any(is_file_signature(key, name, signature, digest) for key in self._keys)


def any_of(patterns: Collection[PathPattern]) -> re.Pattern[bytes]:
    """The paths that one of these names. Never one that climbs, for Linux measures no such path."""
    if not patterns:
        return re.compile(rb"(?!)")
    return re.compile(
        b"(?!.*/[.]{1,2}(?:/|$))(?:%b)" % "|".join(one.expression for one in patterns).encode(), re.DOTALL
    )


def _outside(one: Measured, expected: str) -> AppraisalError:
    return AppraisalError("appraisal.host_file", expected=expected, seen=one.claim[:400].decode("utf-8", "replace"))
