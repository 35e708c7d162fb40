"""Are a host's GPUs good enough for these terms? (side: verifier; RFC 9334 section 4, appraisal of evidence)

Terms add up: a launch is held against those of each party, each by itself.
"""

from collections.abc import Iterable

from common.errors import AppraisalError
from common.messages.gpu_evidence import GpuEndorsements, GpuRoots
from common.messages.gpu_terms import GpuExposure, GpuTerms
from common.nvidia.claims import DeviceClaims, GpuClaims, HostClaims, SwitchClaims
from common.nvidia.measured import mismatches, values_for
from common.nvidia.revocation import read_answers, require_unrevoked
from common.nvidia.rim import ReferenceValues, verify_rim


def appraise_host(host: HostClaims, endorsements: GpuEndorsements, roots: GpuRoots, terms: GpuTerms, at: int) -> None:
    """Hold claims against terms at time `at` (Unix seconds). In this order, each raises `AppraisalError`:

    (1) there are as many GPUs as the terms say (appraisal.gpu_set);
    (2) no device's certificate says that it runs in debug, recovery or insecurely (appraisal.gpu_firmware);
    (3) architecture and device are allowed and not denied (appraisal.gpu_device);
    (4) so are driver and VBIOS version (appraisal.gpu_version);
    (5) so is the mode in which it protects memory and links (appraisal.gpu_mode);
    (6) where links are in the clear, every switch and GPU of the fabric is shown (appraisal.gpu_set), unless named;
    (7) reference values are authentic, and those the terms name (appraisal.gpu_rim);
    (8) there are some for each device's versions (appraisal.gpu_rim) and it measures what they say
        (appraisal.gpu_measurement), unless named;
    (9) no certificate of a device, or of reference values that were used, is revoked, by answers that are not too old,
        unless named (`require_unrevoked`).

    (7) and (9) raise what `verify_rim` and `require_unrevoked` raise, too. "Named" is by `dangerously_allow`; what is
    shown counts all the same: reference values that do not fit refuse, and so does an answer that a certificate is
    revoked.
    """
    if terms.gpus not in (None, len(host.gpus)):  # (1)
        raise AppraisalError("appraisal.gpu_set", expected=f"{terms.gpus} GPUs", seen=len(host.gpus))
    devices: tuple[GpuClaims | SwitchClaims, ...] = (*host.gpus, *host.switches)
    for device in devices:
        _require_device(device, terms)
    for gpu in host.gpus:
        _require_gpu(gpu, terms)
    if GpuExposure.FABRIC not in terms.dangerously_allow:
        _require_fabric(host)  # (6)
    values = [verify_rim(one, roots, at) for one in endorsements.rims]  # (7)
    _require_named(values, terms)
    chains = [device.chain for device in devices]
    for device in devices:
        chains += [used.chain for used in _require_measured(device, values, terms)]  # (8)
    answers = read_answers(endorsements.ocsp_answers)
    for chain in dict.fromkeys(chains):
        require_unrevoked(
            chain,
            answers,
            terms.max_revocation_age_seconds,
            at,
            may_be_unknown=GpuExposure.REVOCATION in terms.dangerously_allow,
        )  # (9)


def _require_device(device: DeviceClaims, terms: GpuTerms) -> None:
    if device.unsafe:  # (2)
        raise AppraisalError("appraisal.gpu_firmware", expected="firmware that is neither in debug nor in recovery")
    allowed = not terms.devices or device.device in terms.devices
    if not allowed or device.device in terms.denied_devices:  # (3)
        raise AppraisalError("appraisal.gpu_device", expected="a device that the terms allow", seen=device.device)


def _require_gpu(gpu: GpuClaims, terms: GpuTerms) -> None:
    fields = gpu.fields
    if terms.architectures and gpu.architecture not in terms.architectures:  # (3)
        raise AppraisalError("appraisal.gpu_device", expected=terms.architectures, seen=gpu.architecture)
    least = terms.min_driver_version
    if (terms.driver_versions and fields.driver_version not in terms.driver_versions) or (
        least is not None and _number(fields.driver_version) < _number(least)
    ):  # (4)
        expected = f"driver {', '.join(terms.driver_versions) or 'any'}, {least or 'any'} or later"
        raise AppraisalError("appraisal.gpu_version", expected=expected, seen=fields.driver_version)
    if terms.vbios_versions and fields.vbios_version not in terms.vbios_versions:  # (4)
        raise AppraisalError("appraisal.gpu_version", expected=terms.vbios_versions, seen=fields.vbios_version)
    if terms.modes and fields.mode not in terms.modes:  # (5)
        raise AppraisalError("appraisal.gpu_mode", expected=terms.modes, seen=fields.mode)


def _require_fabric(host: HostClaims) -> None:
    """Protected PCIe trusts NVLink: every switch that a GPU names is shown, and every GPU that a switch names.

    Source: NVIDIA nvtrust, ppcie-verifier, validate_topology.py, which knows eight GPUs and four switches alone. GPUs
    do not say their names in the fabric, so they are counted.
    """
    if host.gpus[0].fields.mode != "protected-pcie":
        return
    named = sorted(frozenset[str]().union(*(one.fields.switches for one in host.gpus)))
    shown = sorted(one.fields.pdi for one in host.switches)
    if named != shown:
        raise AppraisalError("appraisal.gpu_set", expected=f"switches {named}", seen=shown)
    fabric = {one.fields.gpus for one in host.switches}
    if len(fabric) != 1 or len(next(iter(fabric))) != len(host.gpus):
        raise AppraisalError(
            "appraisal.gpu_set", expected="all GPUs of the fabric", seen=f"{len(host.gpus)} of {fabric}"
        )


def _require_named(values: Iterable[ReferenceValues], terms: GpuTerms) -> None:
    for one in values:
        if terms.rims and one.digest not in terms.rims:  # (7)
            raise AppraisalError("appraisal.gpu_rim", expected=terms.rims, seen=one.digest)


def _require_measured(
    device: GpuClaims | SwitchClaims, values: list[ReferenceValues], terms: GpuTerms
) -> tuple[ReferenceValues, ...]:
    """The values that were used."""
    unmeasured = GpuExposure.MEASUREMENTS in terms.dangerously_allow
    fitting = values_for(device, values, may_be_unknown=unmeasured)  # (8)
    wrong = mismatches(device, fitting)
    if wrong:  # (8)
        raise AppraisalError(
            "appraisal.gpu_measurement", expected="measurements as signed", seen="; ".join(map(str, wrong))
        )
    return fitting


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
