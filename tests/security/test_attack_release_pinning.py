"""Attacks on pinning by one's own build: the release names a second, evil enclave where the first one hides it."""

from typing import Any

import pytest

from client.events import RoleMeasured
from client.pinning import require_own_measurements
from common.crypto.digests import sha256
from common.errors import AppraisalError
from common.identifiers import HexBytes48, MrEnclave, RoleName
from common.messages.evidence import TrustLevel
from common.messages.reference_values import TD_SEPT_VE_DISABLE, ReferenceValue, SgxReferenceValue, TdxReferenceValue
from common.messages.release import Release

OWN, EVIL = MrEnclave(sha256(b"own build")), MrEnclave(sha256(b"evil build"))
REGISTER, EVIL_REGISTER = HexBytes48("ab" * 48), HexBytes48("ee" * 48)
GENUINE = SgxReferenceValue(mr_enclave=OWN)


def require(platforms: dict[TrustLevel, ReferenceValue], domain: TdxReferenceValue | None = None) -> None:
    release = Release(name="r", tag="1", created=1, measurements={RoleName("trainer"): platforms})
    domains = {} if domain is None else {"trainer": domain}
    require_own_measurements(release, (RoleMeasured(role="trainer", mr_enclave=OWN),), domains)


@pytest.mark.parametrize("last", [TrustLevel.SGX, TrustLevel.TPM_IMA])
def test_an_evil_enclave_does_not_hide_behind_another_platforms_entry(last: TrustLevel) -> None:
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=EVIL), last: GENUINE})


def test_nor_behind_a_platform_that_this_build_cannot_measure() -> None:
    domain = TdxReferenceValue(mr_td=REGISTER, rtmrs=(REGISTER,) * 4)
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.TDX: domain, TrustLevel.SIMULATION: GENUINE})


@pytest.mark.parametrize(
    "evil",
    [
        {"mr_td": EVIL_REGISTER},
        {"rtmrs": (REGISTER, EVIL_REGISTER, REGISTER, REGISTER)},
        {"rtmrs": (REGISTER, REGISTER, EVIL_REGISTER, REGISTER)},
        {"mr_config_id": REGISTER},
        {"mr_signer_seam": REGISTER},
        {"td_attributes": TD_SEPT_VE_DISABLE | 1 << 30},
        {"allowed_xfam": (1 << 64) - 1},
    ],
    ids=str,
)
def test_nor_behind_the_firmware_of_ones_own_domain(evil: dict[str, Any]) -> None:
    """MRTD is the same where kernel, owner's configuration or attributes are others."""
    own = TdxReferenceValue(mr_td=REGISTER, rtmrs=(REGISTER,) * 4)
    for stated in (own, own.model_copy(update={"rtmrs": (None, REGISTER, REGISTER, None)})):
        require({TrustLevel.TDX: stated, TrustLevel.SIMULATION: GENUINE}, own)
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.TDX: own.model_copy(update=evil), TrustLevel.SIMULATION: GENUINE}, own)
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.SIMULATION: GENUINE}, own)


def test_what_one_built_oneself_is_pinned() -> None:
    require({TrustLevel.SIMULATION: GENUINE})
