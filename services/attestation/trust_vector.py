"""An appraisal in the words of AR4SI: which number, and from where it comes (side: enclave).

Source: draft-ietf-rats-ar4si, "Specific Claims" and "Enumeration Encoding". A claim that is left out says nothing;
`sourced-data`, `storage-opaque` and `file-system` are, for nothing in a quote speaks of them.

| claim | value | because |
|---|---|---|
| instance-identity | 2 | PCK certificate under Intel's root, not revoked, vouches for the quote (verification 3 to 8) |
| | 97 | simulation: the root is no CPU maker's, or it is in debug |
| executables | 3 | measurement equals the release's (appraisal 2). Not 2: provider code comes later, into the sandbox |
| configuration | 2 | attributes, MISCSELECT, XFRM equal the release's, no debug (verification 2, appraisal 3) |
| | 32 | attributes lay something open to the host that all terms name (verification 2) |
| | 36 | a TCB status with ConfigurationNeeded: what the firmware is set to, the quote does not say |
| hardware | 2 | TCB status UpToDate (verification 6) |
| | 32 | a TCB status with SWHardeningNeeded, OutOfDate or TDRelaunchAdvised: genuine, with known weaknesses |
| | 96 | Revoked; never admitted, so in no token |
| | 97 | simulation: there is no hardware behind it |
| runtime-opaque | 2 | SGX, TDX: memory is encrypted by the TEE |
| | 32 | a measured host without TEE: other programs are kept out, its root user is not |
| | 96 | simulation: whoever runs the host reads the memory |

The status is the worst tier of its claims: so a simulation is always `contraindicated`.
"""

from collections.abc import Mapping
from typing import Final, Literal

from common.messages.evidence import TrustLevel
from common.messages.tcb_terms import TcbStatus

Tier = Literal["none", "affirming", "warning", "contraindicated"]
_TIERS: Final[tuple[Tier, ...]] = ("none", "affirming", "warning", "contraindicated")

_AFFIRMING, _WARNING, _CONTRAINDICATED = 2, 32, 96
"""First standard value of each tier; below 2 nothing is claimed."""

_RECOGNIZED, _UNRECOGNIZED = 2, 97
_APPROVED_AT_START = 3
_APPROVED_CONFIGURATION, _EXPOSED_CONFIGURATION, _UNKNOWN_CONFIGURATION = 2, 32, 36
_GENUINE, _GENUINE_BUT_WEAK, _HARDWARE_REVOKED = 2, 32, 96
_ENCRYPTED, _ISOLATED, _VISIBLE = 2, 32, 96

_UNKNOWN_SETTINGS: Final = frozenset(status for status in TcbStatus if "Configuration" in status)
_WEAK: Final = frozenset(
    status for status in TcbStatus if any(word in status for word in ("SWHardening", "OutOfDate", "Relaunch"))
)


def trust_vector(level: TrustLevel, status: TcbStatus, *, exposed: bool = False) -> dict[str, int]:
    """The claims about a launch that was admitted: its code is the release's, its quote authentic."""
    simulated = level is TrustLevel.SIMULATION
    return {
        "instance-identity": _UNRECOGNIZED if simulated else _RECOGNIZED,
        "configuration": _configuration(status, exposed=exposed),
        "executables": _APPROVED_AT_START,
        "hardware": _UNRECOGNIZED if simulated else _hardware(status),
        "runtime-opaque": _runtime_opaque(level),
    }


def status_of(vector: Mapping[str, int]) -> Tier:
    """The worst tier of all claims (EAR: `ear.status`)."""
    return max((tier_of(value) for value in vector.values()), key=_TIERS.index, default="none")


def tier_of(value: int) -> Tier:
    """The tier of a standard value."""
    if value >= _CONTRAINDICATED:
        return "contraindicated"
    if value >= _WARNING:
        return "warning"
    return "affirming" if value >= _AFFIRMING else "none"


def _configuration(status: TcbStatus, *, exposed: bool) -> int:
    if status in _UNKNOWN_SETTINGS:
        return _UNKNOWN_CONFIGURATION
    return _EXPOSED_CONFIGURATION if exposed else _APPROVED_CONFIGURATION


def _hardware(status: TcbStatus) -> int:
    if status is TcbStatus.REVOKED:
        return _HARDWARE_REVOKED
    return _GENUINE_BUT_WEAK if status in _WEAK else _GENUINE


def _runtime_opaque(level: TrustLevel) -> int:
    if level is TrustLevel.SIMULATION:
        return _VISIBLE
    return _ISOLATED if level is TrustLevel.TPM_IMA else _ENCRYPTED
