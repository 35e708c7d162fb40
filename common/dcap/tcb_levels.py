"""Which TCB level does Intel's collateral give a platform, its TDX module and its quoting enclave? (side: verifier).

For quotes that the engine does not judge to the end (`exposed_quote`); held against the engine by the tests. Source:
Intel PCS API v4, "Get TCB Info" and "Get Quoting Enclave Identity" (`tcbLevels`, `tdxModule`, `tdxModuleIdentities`);
Intel TDX DCAP Quoting Library API (TEE_TCB_SVN2, TD relaunch). Whatever is not in those words raises `ValueError`,
`KeyError` or `TypeError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from common.messages.tcb_terms import TcbStatus

Fields = Mapping[str, Any]
"""A JSON object."""

_COMPONENTS: Final = 16
_MODULE_COMPONENTS: Final = 2
"""TEE_TCB_SVN bytes 0 and 1 are security and major version of the TDX module, which has levels of its own."""

_WITH_OLD_PART: Final = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.TD_RELAUNCH_ADVISED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
"""What a status becomes when module or quoting enclave are out of date; the others stay."""

_OF_PARTS: Final = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)
_OUT_OF_DATE: Final = (TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED)
_CURRENT: Final = (TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED)
_CURRENT_BUT_FOR_SETTINGS: Final = (TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED)


@dataclass(frozen=True, slots=True)
class Level:
    """A level that was met; `date` (Unix seconds) is the earliest of its parts."""

    status: TcbStatus
    date: int
    advisories: tuple[str, ...]

    def with_part(self, part: "Level") -> "Level":
        """The level of the whole when this part of it, module or quoting enclave, is of that level."""
        if part.status not in _OF_PARTS:
            raise ValueError(f"a part is {part.status}")
        old = part.status is TcbStatus.OUT_OF_DATE
        status = _WITH_OLD_PART.get(self.status, self.status) if old else self.status
        revoked = TcbStatus.REVOKED in (self.status, part.status)
        advisories = tuple(dict.fromkeys((*self.advisories, *part.advisories)))
        return Level(TcbStatus.REVOKED if revoked else status, min(self.date, part.date), advisories)


@dataclass(frozen=True, slots=True)
class Module:
    """What a TD report says of the TDX module that made it. `tcb_svn` (TEE_TCB_SVN) has 16 bytes, `attributes` 8."""

    tcb_svn: bytes
    signer: bytes
    attributes: bytes


def platform_level(tcb_info: Fields, cpu_svn: bytes, pce_svn: int, module: Module | None = None) -> Level:
    """The highest level whose SVNs the platform has all reached; a trust domain's with that of its module."""
    for entry in sorted(tcb_info["tcbLevels"], key=_rank, reverse=True):
        if _is_reached(entry["tcb"], cpu_svn, pce_svn, module):
            level = _level(entry)
            return level if module is None else level.with_part(_module_level(tcb_info, module))
    raise ValueError("no level is reached")


def relaunched(level: Level, current: Level) -> Level:
    """The level of a domain that was launched at `level` on a platform that is at `current` (TEE_TCB_SVN2) by now."""
    status = level.status
    if TcbStatus.REVOKED in (level.status, current.status):
        status = TcbStatus.REVOKED
    elif level.status in _OUT_OF_DATE and current.status in _CURRENT:
        settings = level.status is TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
        status = TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED if settings else TcbStatus.TD_RELAUNCH_ADVISED
    elif level.status in _OUT_OF_DATE and current.status in _CURRENT_BUT_FOR_SETTINGS:
        status = TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return Level(status, level.date, level.advisories)


def isv_level(levels: list[Fields], isv_svn: int) -> Level:
    """Of a quoting enclave or a TDX module: the first level whose security version it has reached."""
    for entry in levels:
        if isv_svn >= entry["tcb"]["isvsvn"]:
            return _level(entry)
    raise ValueError("no level is reached")


def _module_level(tcb_info: Fields, module: Module) -> Level:
    """Of the module that TCB info knows by this major version, signer and attributes. Version 0 has no levels."""
    svn, version = module.tcb_svn[0], module.tcb_svn[1]
    known = {one["id"].upper(): one for one in tcb_info["tdxModuleIdentities"]}
    identity = known[f"TDX_{version:02X}"] if version else tcb_info["tdxModule"]
    mask = bytes.fromhex(identity["attributesMask"])
    if bytes.fromhex(identity["mrsigner"]) != module.signer:
        raise ValueError("a module of another signer")
    if masked(module.attributes, mask) != masked(bytes.fromhex(identity["attributes"]), mask):
        raise ValueError("a module with other attributes")
    if masked(module.attributes, mask) != module.attributes:
        raise ValueError("a module with attributes that TCB info does not speak of")
    return isv_level(identity["tcbLevels"], svn) if version else Level(TcbStatus.UP_TO_DATE, _NO_DATE, ())


_NO_DATE: Final = 1 << 40


def masked(value: bytes, mask: bytes) -> bytes:
    """`value` where `mask`, of the same length, has bits."""
    return bytes(one & bits for one, bits in zip(value, mask, strict=True))


def _is_reached(tcb: Fields, cpu_svn: bytes, pce_svn: int, module: Module | None) -> bool:
    reached = pce_svn >= tcb["pcesvn"] and _covers(cpu_svn, _svns(tcb, "sgxtcbcomponents"))
    if module is None:
        return reached
    first = _MODULE_COMPONENTS if module.tcb_svn[1] else 0
    return reached and _covers(module.tcb_svn[first:], _svns(tcb, "tdxtcbcomponents")[first:])


def _covers(seen: bytes, least: bytes) -> bool:
    return all(one >= other for one, other in zip(seen, least, strict=True))


def _rank(entry: Fields) -> tuple[bytes, int, bytes]:
    tcb = entry["tcb"]
    tdx = _svns(tcb, "tdxtcbcomponents") if "tdxtcbcomponents" in tcb else b""
    return _svns(tcb, "sgxtcbcomponents"), tcb["pcesvn"], tdx


def _svns(tcb: Fields, name: str) -> bytes:
    svns = bytes(component["svn"] for component in tcb[name])
    if len(svns) != _COMPONENTS:
        raise ValueError(f"{len(svns)} components")
    return svns


def _level(entry: Fields) -> Level:
    date = int(datetime.fromisoformat(entry["tcbDate"]).timestamp())
    return Level(TcbStatus(entry["tcbStatus"]), date, tuple(entry.get("advisoryIDs", ())))
