"""Attacks on pinning by one's own build: the release names a second, evil enclave where the first one hides it."""

import pytest

from client.events import RoleMeasured
from client.pinning import require_own_measurements
from common.crypto.digests import sha256
from common.errors import AppraisalError
from common.identifiers import HexBytes48, MrEnclave, RoleName
from common.messages.evidence import TrustLevel
from common.messages.reference_values import ReferenceValue, SgxReferenceValue, TdxReferenceValue
from common.messages.release import Release

OWN, EVIL = MrEnclave(sha256(b"own build")), MrEnclave(sha256(b"evil build"))
REGISTER = HexBytes48("ab" * 48)
GENUINE = SgxReferenceValue(mr_enclave=OWN)


def require(platforms: dict[TrustLevel, ReferenceValue]) -> None:
    release = Release(name="r", tag="1", created=1, measurements={RoleName("trainer"): platforms})
    require_own_measurements(release, (RoleMeasured(role="trainer", mr_enclave=OWN),))


@pytest.mark.parametrize("last", [TrustLevel.SGX, TrustLevel.TPM_IMA])
def test_an_evil_enclave_does_not_hide_behind_another_platforms_entry(last: TrustLevel) -> None:
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=EVIL), last: GENUINE})


def test_nor_behind_a_platform_that_this_build_cannot_measure() -> None:
    domain = TdxReferenceValue(mr_td=REGISTER, rtmrs=(REGISTER,) * 4)
    with pytest.raises(AppraisalError, match="appraisal.own_build"):
        require({TrustLevel.TDX: domain, TrustLevel.SIMULATION: GENUINE})


def test_what_one_built_oneself_is_pinned() -> None:
    require({TrustLevel.SIMULATION: GENUINE})
