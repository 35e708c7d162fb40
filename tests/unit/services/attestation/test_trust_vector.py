import re
from pathlib import Path

import pytest

from common.messages.evidence import TrustLevel
from common.messages.tcb_terms import TcbStatus
from services.attestation.trust_vector import status_of, tier_of, trust_vector

GOOD = {"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2}


@pytest.mark.parametrize("level", [TrustLevel.SGX, TrustLevel.TDX, TrustLevel.SEV_SNP])
def test_an_up_to_date_tee_is_affirmed(level: TrustLevel) -> None:
    vector = trust_vector(level, TcbStatus.UP_TO_DATE)
    assert vector == GOOD
    assert status_of(vector) == "affirming"


@pytest.mark.parametrize("status", TcbStatus)
def test_a_simulation_is_contraindicated_whatever_its_tcb(status: TcbStatus) -> None:
    vector = trust_vector(TrustLevel.SIMULATION, status)
    assert (vector["hardware"], vector["instance-identity"], vector["runtime-opaque"]) == (97, 97, 96)
    assert status_of(vector) == "contraindicated"


EXPECTED = {
    TcbStatus.SW_HARDENING_NEEDED: {"hardware": 32},
    TcbStatus.CONFIGURATION_NEEDED: {"configuration": 36},
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: {"configuration": 36, "hardware": 32},
    TcbStatus.OUT_OF_DATE: {"hardware": 32},
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: {"configuration": 36, "hardware": 32},
    TcbStatus.TD_RELAUNCH_ADVISED: {"hardware": 32},
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: {"configuration": 36, "hardware": 32},
}


@pytest.mark.parametrize("status", EXPECTED)
def test_lesser_statuses_are_warnings(status: TcbStatus) -> None:
    vector = trust_vector(TrustLevel.TDX, status)
    assert vector == GOOD | EXPECTED[status]
    assert status_of(vector) == "warning"


@pytest.mark.parametrize("status", TcbStatus)
def test_what_lies_open_is_never_affirmed(status: TcbStatus) -> None:
    vector = trust_vector(TrustLevel.TDX, status, exposed=True)
    assert vector["configuration"] == (36 if "Configuration" in status else 32)
    assert status_of(vector) in {"warning", "contraindicated"}


def test_revoked_and_a_host_without_tee() -> None:
    assert status_of(trust_vector(TrustLevel.SGX, TcbStatus.REVOKED)) == "contraindicated"
    assert trust_vector(TrustLevel.TPM_IMA, TcbStatus.UP_TO_DATE)["runtime-opaque"] == 32


def test_tiers_are_those_of_ar4si() -> None:
    tiers = {value: tier_of(value) for value in (0, 1, 2, 31, 32, 95, 96, 127)}
    assert list(tiers.values()) == [
        "none", "none", "affirming", "affirming", "warning", "warning", "contraindicated", "contraindicated"
    ]  # fmt: skip
    assert status_of({}) == "none"


def test_every_number_stands_in_the_document_and_no_other() -> None:
    """Revoked is never admitted, and hosts without TEE are not attested yet: they stand beside the code alone."""
    text = (Path(__file__).parents[4] / "docs" / "attestation.md").read_text().split("The numbers (", 1)[1]
    shown, claim = set(), ""
    for name, value in re.findall(r"^\| ([a-z-]*) ?\| (\d+) \|", text, re.MULTILINE):
        claim = name or claim
        shown.add((claim, int(value)))
    levels = [TrustLevel.SIMULATION, TrustLevel.SGX, TrustLevel.TDX]
    statuses = [status for status in TcbStatus if status is not TcbStatus.REVOKED]
    made = {
        item
        for level in levels
        for status in statuses
        for exposed in (False, True)
        for item in trust_vector(level, status, exposed=exposed).items()
    }
    assert shown == made
