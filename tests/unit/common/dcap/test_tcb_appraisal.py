"""A machine against terms: each rule refuses what only it refuses."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from common.dcap import PlatformClaims, require_tcb
from common.errors import AppraisalError
from common.identifiers import Fmspc, PlatformId
from common.messages.platform_inventory import NO_INVENTORY
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance

NOW = 1_760_000_000
THIS, OTHER = Fmspc("90c06f000000"), Fmspc("00806f050000")
PPID, INSTANCE, STRANGER = PlatformId("11" * 16), PlatformId("22" * 16), PlatformId("33" * 16)
CLOUD = PlatformClaims(
    fmspc=THIS, platform_ids=(PPID, INSTANCE), tcb_status=TcbStatus.UP_TO_DATE, tcb_date=1_730_000_000,
    tcb_evaluation=17, advisory_ids=("INTEL-SA-00615",), dynamic=True, cached_keys=False, smt=True,
)  # fmt: skip
"""As Azure's and GCP's TDX hosts describe themselves."""


def _code(terms: TcbTerms, **changes: Any) -> str:
    with pytest.raises(AppraisalError) as refused:
        require_tcb(replace(CLOUD, **changes), terms, NO_INVENTORY, NOW)
    return refused.value.code


def test_the_defaults_accept_a_cloud_platform_that_is_up_to_date() -> None:
    require_tcb(CLOUD, TcbTerms(), NO_INVENTORY, NOW)
    require_tcb(replace(CLOUD, cached_keys=True), TcbTerms(), NO_INVENTORY, NOW)
    require_tcb(
        replace(CLOUD, dynamic=None, cached_keys=None, smt=None), TcbTerms(dynamic_platform=False), NO_INVENTORY, NOW
    )


@pytest.mark.parametrize("status", [status for status in TcbStatus if status is not TcbStatus.UP_TO_DATE])
def test_every_other_status_is_refused_unless_it_is_named(status: TcbStatus) -> None:
    assert _code(TcbTerms(), tcb_status=status) == "appraisal.tcb_status"
    if status is TcbStatus.REVOKED:
        with pytest.raises(ValidationError):
            TcbTerms(accepted_statuses=(status,))
        with pytest.raises(ValidationError):
            TcbTerms(tolerances=(TcbTolerance(status=status, until=NOW),))
    else:
        require_tcb(replace(CLOUD, tcb_status=status), TcbTerms(accepted_statuses=(status,)), NO_INVENTORY, NOW)


def test_a_status_is_tolerated_for_a_time() -> None:
    def until(last: int) -> TcbTerms:
        return TcbTerms(tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=last),))

    require_tcb(replace(CLOUD, tcb_status=TcbStatus.OUT_OF_DATE), until(NOW), NO_INVENTORY, NOW)
    assert _code(until(NOW - 1), tcb_status=TcbStatus.OUT_OF_DATE) == "appraisal.tcb_status"
    assert _code(until(NOW), tcb_status=TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED) == "appraisal.tcb_status"


def test_a_status_is_tolerated_from_a_tcb_date_on() -> None:
    def since(date: int, until: int | None = None) -> TcbTerms:
        tolerance = TcbTolerance(status=TcbStatus.OUT_OF_DATE, min_tcb_date=date, until=until)
        return TcbTerms(tolerances=(tolerance,))

    require_tcb(replace(CLOUD, tcb_status=TcbStatus.OUT_OF_DATE), since(CLOUD.tcb_date), NO_INVENTORY, NOW)
    assert _code(since(CLOUD.tcb_date + 1), tcb_status=TcbStatus.OUT_OF_DATE) == "appraisal.tcb_status"
    assert _code(since(CLOUD.tcb_date, NOW - 1), tcb_status=TcbStatus.OUT_OF_DATE) == "appraisal.tcb_status"


def test_a_tolerance_without_a_limit_is_none() -> None:
    with pytest.raises(ValidationError):
        TcbTolerance(status=TcbStatus.OUT_OF_DATE)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (TcbTerms(min_tcb_evaluation=18), "appraisal.tcb_evaluation"),
        (TcbTerms(allowed_fmspcs=(OTHER,)), "appraisal.platform"),
        (TcbTerms(denied_fmspcs=(THIS,)), "appraisal.platform"),
        (TcbTerms(allowed_fmspcs=(THIS,), denied_fmspcs=(THIS,)), "appraisal.platform"),
        (TcbTerms(platforms=(STRANGER,)), "appraisal.platform"),
        (TcbTerms(denied_platforms=(INSTANCE,)), "appraisal.platform"),
        (TcbTerms(platforms=(PPID,), denied_platforms=(INSTANCE,)), "appraisal.platform"),
        (TcbTerms(dynamic_platform=False), "appraisal.platform_configuration"),
        (TcbTerms(smt=False), "appraisal.platform_configuration"),
        (TcbTerms(rejected_advisories=("INTEL-SA-00615",)), "appraisal.advisory"),
    ],
    ids=str,
)
def test_each_term_refuses(terms: TcbTerms, code: str) -> None:
    assert _code(terms) == code


@pytest.mark.parametrize(
    "terms",
    [
        TcbTerms(min_tcb_evaluation=17),
        TcbTerms(allowed_fmspcs=(OTHER, THIS), denied_fmspcs=(OTHER,)),
        TcbTerms(platforms=(INSTANCE,), denied_platforms=(STRANGER,)),
        TcbTerms(cached_keys=False),
        TcbTerms(rejected_advisories=("INTEL-SA-00001",)),
    ],
    ids=str,
)
def test_each_term_lets_pass_what_meets_it(terms: TcbTerms) -> None:
    require_tcb(CLOUD, terms, NO_INVENTORY, NOW)


def test_cached_keys_are_a_matter_of_terms() -> None:
    assert _code(TcbTerms(cached_keys=False), cached_keys=True) == "appraisal.platform_configuration"
