"""Which platforms are good enough: terms over what a DCAP quote says of the machine, not of the code (side: library).

A release states its own, an owner's policy and a provider's terms may state more: all of them must hold, so that nobody
can loosen what another demands. The defaults accept a platform that Intel calls UpToDate, of any FMSPC, in any
configuration: the cloud providers' TDX hosts have several packages and SMT, and are accepted by them.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from common.identifiers import Fmspc, HexBytes48, PlatformId
from common.messages.base import Count, Message, Seconds


class TcbStatus(StrEnum):
    """Intel's verdict about a platform's TCB level (PCS API v4, TCB info appendix A); TDX adds the relaunch pair."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    REVOKED = "Revoked"


class Exposure(StrEnum):
    """How an attribute lays an enclave or trust domain open to whoever runs its host (SGX ATTRIBUTES, TDATTRIBUTES)."""

    DEBUG = "debug"
    """Its memory is read and written."""

    SEPT_VE = "sept-ve"
    """SEPT_VE_DISABLE is clear: #VE comes of pages that are taken away, and its kernel must be ready for that."""

    PROFILING = "profiling"
    """HGS_PLUS_PROF, PERF_PROF, PMT_PROF: it is measured while it runs."""

    MIGRATION = "migration"
    """It is moved to another machine by a service domain."""


Statuses = Annotated[tuple[TcbStatus, ...], Field(min_length=1, max_length=len(TcbStatus))]
AdvisoryId = Annotated[str, Field(pattern=r"^INTEL-(SA|DOC)-\d{5}$")]
"""As in `advisoryIDs` of TCB info, for example INTEL-SA-00615."""

_Fmspcs = Annotated[tuple[Fmspc, ...], Field(max_length=256)]
_Platforms = Annotated[tuple[PlatformId, ...], Field(max_length=4096)]


class TcbTolerance(Message):
    """A status that is accepted within limits: while a grace lasts, or from a TCB date on; both, where both stand."""

    status: TcbStatus
    until: Seconds | None = None
    min_tcb_date: Seconds | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.until is None and self.min_tcb_date is None:
            raise ValueError("a tolerance has a limit: until, min_tcb_date, or both")
        return self


class TcbTerms(Message):
    """Terms over a platform and its TCB. An empty list of FMSPCs or platforms names any; what is denied stays denied.

    `platforms` and `denied_platforms` hold PPIDs or platform instance ids; `inventory` accepts only platforms of the
    installation's signed inventory (common/messages/platform_inventory). `dynamic_platform` (packages can be added),
    `cached_keys` (Intel's registration service keeps the platform's root keys) and `smt` say whether a platform that
    is so is accepted (Intel, PCK certificate profile 1.5, section 1.3.5: configuration).

    `dangerously_allow` names what else than the machine may be open to its host, `service_domains` the MRSERVICETDs
    that a trust domain may be bound to: neither is accepted unnamed. Debug makes real hardware a simulation.
    """

    accepted_statuses: Statuses = (TcbStatus.UP_TO_DATE,)
    tolerances: Annotated[tuple[TcbTolerance, ...], Field(max_length=len(TcbStatus))] = ()
    rejected_advisories: Annotated[tuple[AdvisoryId, ...], Field(max_length=256)] = ()
    min_tcb_evaluation: Count = 0
    allowed_fmspcs: _Fmspcs = ()
    denied_fmspcs: _Fmspcs = ()
    platforms: _Platforms = ()
    denied_platforms: _Platforms = ()
    inventory: bool = False
    dynamic_platform: bool = True
    cached_keys: bool = True
    smt: bool = True
    dangerously_allow: Annotated[tuple[Exposure, ...], Field(max_length=len(Exposure))] = ()
    service_domains: Annotated[tuple[HexBytes48, ...], Field(max_length=64)] = ()

    @model_validator(mode="after")
    def _never_revoked(self) -> Self:
        named = (*self.accepted_statuses, *(tolerance.status for tolerance in self.tolerances))
        if TcbStatus.REVOKED in named:
            raise ValueError("a revoked TCB is never accepted")
        return self
