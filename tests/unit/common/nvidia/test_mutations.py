"""Not one bit of real evidence can be changed: every fourth byte of each report, certificate and document is tried."""

import time
from collections.abc import Callable, Iterator

import pytest

from common.errors import Refusal
from common.messages.gpu_evidence import DeviceReport
from common.nvidia import NVIDIA_ROOTS, verify_device
from common.nvidia.canonical_xml import canonicalize, parse_xml
from common.nvidia.rim import verify_rim
from tests.vectors.nvidia_evidence import AT, BLACKWELL, HOPPER, HOPPERS, SWITCH, SWITCH_RIM, nonce_of, rim

STEP = 4
DEVICES = {"Hopper": HOPPER, "Blackwell": BLACKWELL, "protected PCIe": HOPPERS[2], "switch": SWITCH}


def flipped(raw: bytes, step: int = STEP) -> Iterator[bytes]:
    """Copies with one bit changed, another one from byte to byte."""
    for at in range(0, len(raw), step):
        yield raw[:at] + bytes([raw[at] ^ 1 << (at // step) % 8]) + raw[at + 1 :]


def mutations(device: DeviceReport) -> Iterator[DeviceReport]:
    """The report and each certificate with a changed bit; cut, prolonged, and out of order."""
    for report in (*flipped(device.report), device.report[:-1], device.report + b"\0"):
        yield device.model_copy(update={"report": report})
    for place, one in enumerate(device.chain):
        for changed in (*flipped(one), one[:-1], one + b"\0"):
            chain = (*device.chain[:place], changed, *device.chain[place + 1 :])
            yield device.model_copy(update={"chain": chain})
    for chain in (device.chain[1:], device.chain[:-1], device.chain[::-1], (*device.chain, device.chain[-1])):
        yield device.model_copy(update={"chain": chain})


def accepted(each: Iterator[DeviceReport], judge: Callable[[DeviceReport], object]) -> tuple[int, int]:
    """How many were tried, and how many of them accepted."""
    tried = taken = 0
    for tried, one in enumerate(each, 1):  # noqa: B007
        try:
            judge(one)
        except Refusal:
            continue
        taken += 1
    return tried, taken


@pytest.mark.parametrize("name", DEVICES)
def test_no_mutation_of_real_evidence_is_accepted(name: str) -> None:
    device, begun = DEVICES[name], time.process_time()
    nonce = nonce_of(device)  # ours: with a changed one in the report it is another's
    verify_device(device, NVIDIA_ROOTS, nonce, AT)
    tried, taken = accepted(mutations(device), lambda one: verify_device(one, NVIDIA_ROOTS, nonce, AT))
    assert tried > (1_300 if name == "switch" else 1_800)
    assert taken == 0
    assert time.process_time() - begun < 30


def test_no_mutation_changes_what_reference_values_say() -> None:
    """White space within a tag is nobody's: what is accepted has the same canonical form, and says the same."""
    raw = rim(SWITCH_RIM)
    good, form, tried, same = verify_rim(raw, NVIDIA_ROOTS, AT), canonicalize(parse_xml(raw)), 0, 0
    for changed in flipped(raw, 32):
        tried += 1
        try:
            values = verify_rim(changed, NVIDIA_ROOTS, AT)
        except Refusal:
            continue
        same += 1
        assert canonicalize(parse_xml(changed)) == form
        assert (values.version, values.golden) == (good.version, good.golden)
    assert tried > 800
    assert same < tried / 100
