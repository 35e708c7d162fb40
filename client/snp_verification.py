"""Checking reports of AMD SEV-SNP guests by hand; no broker admits such guests yet (side: verifier)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from client.events import Event, Verified
from client.snp_files import read_evidence, read_root
from common.messages.evidence import TrustLevel
from common.messages.snp_reference_values import SevSnpReferenceValue
from common.snp import SnpClaims, amd_roots, appraise, require_report_data, verify_report
from common.snp.report_format import HOST_ASKED


@dataclass(frozen=True, slots=True)
class Shown:
    """Evidence: a document, or a bare report with certificates and a list."""

    source: Path
    certificates: tuple[Path, ...] = ()
    crl: Path | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What it must be: a reference value, what it must bind (64 bytes), and a test root that counts beside AMD's."""

    value: Path | None = None
    report_data: bytes | None = None
    unsafe_root: Path | None = None


def verify(shown: Shown, asked: Asked, at: int | None = None, destination: Path | None = None) -> Iterator[Event]:
    """Verify a report, and hold it against what is asked. `at`: one time for all checks (Unix seconds; default: now).

    With a `destination`, the evidence is kept there as a document. Raises what verification and appraisal raise.
    """
    evidence = read_evidence(shown.source, shown.certificates, shown.crl)
    value = None if asked.value is None else SevSnpReferenceValue.decode(asked.value.read_bytes())
    roots = (*amd_roots(), *([] if asked.unsafe_root is None else [read_root(asked.unsafe_root)]))
    at = int(time.time()) if at is None else at
    claims = verify_report(evidence, roots, at, () if value is None else value.dangerously_allow)
    if value is not None:
        appraise(claims, value)
    if asked.report_data is not None:
        require_report_data(claims, asked.report_data)
    if destination is not None:
        destination.write_bytes(evidence.encode())
    checks = (*_machine_checks(claims, at), *_guest_checks(claims, value, asked.report_data))
    yield Verified(subject=shown.source.name, checks=checks)


def _machine_checks(claims: SnpClaims, at: int) -> Iterator[str]:
    machine = claims.machine
    is_real = claims.trust_level is TrustLevel.SEV_SNP
    whose = "AMD's root" if is_real else "a test root, or of a guest in debug"
    yield f"signed by a {machine.signer} of {machine.product} under {whose}: trust level {claims.trust_level}"
    yield f"nobody in that chain is expired or revoked at {at}"
    yield f"of this key's {'provider, ' + machine.provider if machine.provider else 'chip, ' + str(machine.chip)}"
    for name, tcb in machine.tcbs.items():
        yield f"{name} TCB: {tcb}"
    features = ", ".join(sorted(machine.info.features)) or "no further protection"
    yield f"{machine.info}: {features}; SMT {'on' if machine.info.smt else 'off'}"


def _guest_checks(claims: SnpClaims, value: SevSnpReferenceValue | None, bound: bytes | None) -> Iterator[str]:
    is_so = "(what it should be is for its reader to say: --value)" if value is None else "is the value's"
    yield f"launch measurement {claims.mr_launch} {is_so}"
    yield f"host data {claims.host_data} {is_so}"
    level = "the hypervisor" if claims.vmpl == HOST_ASKED else f"privilege level {claims.vmpl}"
    openings = ", ".join(sorted(claims.policy.openings)) or "nothing"
    yield f"asked for by {level}; {claims.policy} lays {openings} open to the host"
    is_bound = "(what it binds is for its reader to check)" if bound is None else "is what was named"
    yield f"report_data {claims.report_data.hex()} {is_bound}"
