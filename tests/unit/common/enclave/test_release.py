"""Releases: who signs them, what they name, and what trust settings may say."""

from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.dcap import intel_roots
from common.enclave.trust_settings import TrustSettings, require_release
from common.errors import AppraisalError, FormatError
from common.identifiers import Digest, MrEnclave, RoleName
from common.messages.evidence import AllowedRoot, TrustLevel
from common.messages.reference_values import SgxReferenceValue
from common.messages.release import Release
from common.messages.signed import sign

KEYS = tuple(SigningKey.generate() for _ in range(3))
PARTIES = tuple(key.party for key in KEYS)
REFERENCE = SgxReferenceValue(mr_enclave=MrEnclave("a" * 64))
RELEASE = Release(
    name="test", tag="1.0", created=1, measurements={RoleName("broker"): {TrustLevel.SIMULATION: REFERENCE}}
)


def _trust(**changes: object) -> TrustSettings:
    fields: dict[str, object] = {
        "release_keys": PARTIES,
        "release_threshold": 2,
        "allowed_roots": intel_roots(),
        "production": True,
    }
    return TrustSettings.model_validate(fields | changes)


def test_a_release_survives_the_wire() -> None:
    assert Release.decode(RELEASE.encode()) == RELEASE
    assert _trust() == TrustSettings.decode(_trust().encode())


def test_enough_pinned_keys_must_have_signed() -> None:
    assert require_release(sign(RELEASE, KEYS[0], KEYS[2]), _trust()) == RELEASE
    for signed in (
        sign(RELEASE, KEYS[0]),
        sign(RELEASE, KEYS[0], KEYS[0]),
        sign(RELEASE, KEYS[0], SigningKey.generate()),
    ):
        with pytest.raises(AppraisalError, match=r"appraisal\.release"):
            require_release(signed, _trust())


def test_a_changed_release_is_refused() -> None:
    signed = sign(RELEASE, *KEYS)
    changed = signed.model_copy(update={"payload": signed.payload.replace(b"aaaa", b"bbbb", 1)})
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        require_release(changed, _trust())


def test_a_document_of_another_type_is_no_release() -> None:
    with pytest.raises(FormatError):
        require_release(sign(_trust(), *KEYS), _trust())


def test_a_reference_is_for_one_role_on_one_platform() -> None:
    assert RELEASE.reference("broker", TrustLevel.SIMULATION) == REFERENCE
    for role, level in (("broker", TrustLevel.SGX), ("trainer", TrustLevel.SIMULATION)):
        with pytest.raises(AppraisalError, match=r"appraisal\.release"):
            RELEASE.reference(role, level)


@pytest.mark.parametrize(
    "changes",
    [
        {"release_threshold": 1},
        {"release_threshold": 4},
        {"release_keys": PARTIES[:1] * 3},
        {"allowed_roots": (*intel_roots(), AllowedRoot(platform="sgx", root_key_sha256=Digest("0" * 64)))},
        {"allowed_roots": ()},
    ],
)
def test_production_settings_that_trust_too_much_are_no_settings(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="validation error"):
        _trust(**changes)
    with pytest.raises(FormatError):
        TrustSettings.decode(_trust().model_copy(update=changes).encode())
