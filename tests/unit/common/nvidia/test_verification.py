"""What real devices can't show: reports and chains on test roots with one defect each."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from common.errors import Refusal
from common.messages.gpu_terms import Architecture
from common.nvidia import GpuClaims, SwitchClaims, certificates, verification, verify_device
from tests.fakes.gpu_forge import (
    AT,
    FWID,
    MEASURED,
    NONCE,
    SWITCHES,
    VBIOS,
    Device,
    certify,
    composite_id,
    forge,
    tcb_info,
)
from tests.fakes.switched_off import checked_steps, planned_steps

NOW: Final = datetime.fromtimestamp(AT, UTC)
OTHER: Final = bytes(48)


def refused(device: Device, **report: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        verify_device(device.report(**report), forge().roots, NONCE, AT)
    return refusal.value.code


def test_what_a_good_report_claims() -> None:
    claims = verify_device(forge().gpu().report(), forge().roots, NONCE, AT)
    assert isinstance(claims, GpuClaims)
    assert (claims.chip, claims.architecture, claims.firmware) == ("GH100", Architecture.HOPPER, FWID.hex())
    assert dict(claims.measurements) == MEASURED
    assert (claims.fields.board, claims.fields.mode, claims.fields.decoder) == ("1010_0200_882", "single-gpu", True)
    assert claims.fields.switches == set(SWITCHES)


def test_what_a_good_switch_claims() -> None:
    claims = verify_device(forge().switch(gpus=3).report(), forge().roots, NONCE, AT)
    assert isinstance(claims, SwitchClaims)
    assert (claims.chip, claims.architecture) == ("LS_10", Architecture.LS10)
    assert (claims.fields.pdi, claims.fields.vbios_version, len(claims.fields.gpus)) == (SWITCHES[0], VBIOS, 3)


def test_each_step_of_the_plan_is_made() -> None:
    for module, plan in ((verification, verification.__doc__), (certificates, certificates.require_chain.__doc__)):
        assert set(planned_steps(str(plan))) == checked_steps(module)


def test_a_foreign_nonce() -> None:
    assert refused(forge().gpu(), nonce=bytes(32)) == "appraisal.gpu_binding"


def test_firmware_that_the_certificate_does_not_name() -> None:
    for device in (forge().gpu(fwid=OTHER), forge().gpu("GB100", fwid=OTHER), forge().gpu().saying(t20=OTHER)):
        assert refused(device) == "appraisal.gpu_firmware"
    assert verify_device(forge().gpu(fwid=OTHER).saying(t20=None).report(), forge().roots, NONCE, AT)


@pytest.mark.parametrize(
    "extensions",
    [
        (),
        (composite_id(FWID), tcb_info(FWID)),
        (composite_id(FWID[:-1]),),
        (composite_id(FWID + b"\0"),),
        (tcb_info(b""),),
    ],
)
def test_a_certificate_that_does_not_name_firmware(extensions: tuple[Any, ...]) -> None:
    assert refused(forge().gpu(extensions=extensions)) == "format.gpu_report"


def test_debug_recovery_and_insecure_firmware_is_told() -> None:
    for flags, unsafe in (("80000001", False), ("10000001", True), ("20000001", True), ("40000001", True)):
        device = forge().gpu("GB100", extensions=(tcb_info(FWID, bytes.fromhex(flags)),))
        assert verify_device(device.report(), forge().roots, NONCE, AT).unsafe is unsafe


@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        ({"end": NOW - timedelta(seconds=1)}, "freshness.gpu_report"),
        ({"begin": NOW + timedelta(seconds=1)}, "freshness.gpu_report"),
        ({"ca": True}, "format.gpu_report"),
        ({"key": generate_private_key(SECP256R1())}, "format.gpu_report"),
    ],
)
def test_a_leaf_that_may_not_sign_now(leaf: dict[str, Any], code: str) -> None:
    assert refused(forge().gpu(**leaf)) == code


def test_a_device_that_certifies_another_one() -> None:
    """The firmware's key is no authority, and a chain has its length."""
    good = forge().gpu()
    forged = certify("GH100 A01 GSP FMC LF", good.chain[0], ca=False, extensions=(composite_id(FWID),))
    for chain in ((forged, *good.chain), (forged, good.chain[0], *good.chain[2:])):
        assert refused(Device(chain, good.opaque, good.measured)) == "format.gpu_report"


def test_an_authority_below_one_that_must_have_none() -> None:
    narrow = certify("GH100 ICA", forge().families["GH100"], path_length=0)
    rom = certify("GH100 A01 GSP BROM", narrow)
    leaf = certify("GH100 A01 GSP FMC LF", rom, ca=False, extensions=(composite_id(FWID),))
    good = forge().gpu()
    device = Device((leaf, rom, narrow, *good.chain[3:]), good.opaque, good.measured)
    assert refused(device) == "format.gpu_report"


def test_a_chain_that_is_none() -> None:
    good, other = forge().gpu(), forge().gpu()
    mixed = Device((good.chain[0], *other.chain[1:]), good.opaque, good.measured)
    assert refused(mixed) == "authenticity.gpu_report"


def test_the_other_hierarchy_vouches_for_no_device() -> None:
    """Both end in pinned keys, each for its own purpose."""
    chain = (*forge().rim_chain[:3], forge().rim_ca, forge().rim_root)
    good = forge().gpu()
    assert refused(Device(chain, good.opaque, good.measured)) in {"format.gpu_report", "authenticity.gpu_report"}
    ica = certify("ICA", forge().rim_ca)
    rom = certify("GH100 A01 GSP BROM", ica)
    leaf = certify("GH100 A01 GSP FMC LF", rom, ca=False, extensions=(composite_id(FWID),))
    device = Device((leaf, rom, ica, forge().rim_ca, forge().rim_root), good.opaque, good.measured)
    assert refused(device) == "appraisal.gpu_root"


def test_a_chip_that_is_not_known() -> None:
    good = forge().gpu()
    for names in (("TU102 A01", "TU102 A01"), ("GH100 A01", "GB100 A01")):
        rom = certify(names[0], good.chain[2])
        leaf = certify(names[1], rom, ca=False, extensions=(composite_id(FWID),))
        assert refused(Device((leaf, rom, *good.chain[2:]), good.opaque, good.measured)) == "format.gpu_report"


@pytest.mark.parametrize(
    "fields",
    [
        {"t3": None}, {"t3": b"\0"}, {"t3": b"580.159.03\0x"}, {"t3": b"580"}, {"t6": None}, {"t6": b"short"},
        {"t6": bytes.fromhex("005e009601000001")}, {"t11": None}, {"t11": b"\0"}, {"t17": b"10 10\0"},
        {"t22": bytes(7)}, {"t34": b"\2\0"}, {"t36": None}, {"t36": b"\3\0"}, {"t36": b"\2\0"},
        {"t37": b"new"}, {"t0": b"none"},
    ],
)  # fmt: skip
def test_fields_that_nobody_can_read(fields: dict[str, bytes | None]) -> None:
    assert refused(forge().gpu().saying(**fields)) == "format.gpu_report"


def test_modes() -> None:
    for number, mode in enumerate(("multi-gpu", "single-gpu", "protected-pcie")):
        claims = verify_device(forge().gpu(mode=number).report(), forge().roots, NONCE, AT)
        assert isinstance(claims, GpuClaims)
        assert claims.fields.mode == mode
    old = forge().gpu(mode=2).saying(t34=None, t36=None)
    claims = verify_device(old.report(), forge().roots, NONCE, AT)
    assert isinstance(claims, GpuClaims)
    assert claims.fields.mode == "protected-pcie"
