"""A host with a real TPM (swtpm), an authority that vouches for it, and a list that register 10 has."""

import os
import subprocess
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from common.crypto.digests import sha256_raw
from common.crypto.tpm_keys import Activations
from common.crypto.tpm_signatures import EccPublic
from common.identifiers import Digest
from common.messages.host_evidence import HostEvidence
from common.messages.host_profile import BOOT_REGISTER_NAMES
from common.tpm.layouts import EndorsementKey
from common.tpm_host.attester import HostAttester, HostSettings
from common.tpm_host.device import open_tpm
from common.tpm_host.quoting import QuotingTpm
from common.tpm_ima.claims import HostClaims
from common.tpm_ima.endorsement import challenge
from common.tpm_ima.ima_list import read_list
from common.tpm_ima.registers import BOOT_REGISTERS, IMA_REGISTER
from common.tpm_ima.verification import verify_host
from tests.fakes.ek_authority import AT, EkAuthority
from tests.fakes.forged_host import ng_line
from tests.fakes.software_tpm import SoftwareTpm, require_installed

_MAKING: Final = {
    "setup.conf": "create_certs_tool={localca}\ncreate_certs_tool_config={place}/localca.conf\n"
    "create_certs_tool_options={place}/options.conf\n",
    "localca.conf": "statedir={place}\nsigningkey={place}/key.pem\nissuercert={place}/issuer.pem\n"
    "certserial={place}/serial\n",
    "options.conf": "--platform-manufacturer Test\n--platform-version 1\n--platform-model Host\n",
}


def manufacture(software: SoftwareTpm, place: Path) -> Path:
    """Let swtpm's own authority make this TPM: RSA key, certificate in the TPM. Who issued it, in PEM."""
    setup, localca = (require_installed(name) for name in ("swtpm_setup", "swtpm_localca"))
    software.cut_power()
    for name, text in _MAKING.items():
        (place / name).write_text(text.format(place=place, localca=localca))
    command = [
        setup, "--tpm2", "--tpmstate", str(software.state), "--create-ek-cert", "--config", str(place / "setup.conf"),
        "--runas", str(os.geteuid()), "--pcr-banks", "sha256", "--overwrite",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    software.start()
    issuers = place / "issuers.pem"
    issuers.write_bytes((place / "issuer.pem").read_bytes() + (place / "swtpm-localca-rootca-cert.pem").read_bytes())
    return issuers


class MeasuredHost:
    """Booted as the forged hosts are; what `run` runs is in the list and in the TPM, as a kernel would have it."""

    def __init__(self, place: Path, authority: EkAuthority) -> None:
        self.place, self.authority, self.software = place, authority, SoftwareTpm()
        place.mkdir(exist_ok=True)
        self.list = place / "list"
        self._write_certificates()
        self.settings = HostSettings(
            tpm=self.software.name, boot_log=None, measurement_list=self.list,
            issuers=place / "issuers.pem", certificate=place / "ek.pem",
        )  # fmt: skip
        self.boot()

    def boot(self) -> None:
        """Firmware and kernel extend the registers; the list begins."""
        tpm = self.tpm()
        for number in BOOT_REGISTERS:
            tpm.extend(number, sha256_raw(b"firmware %d" % number))
        registers = tpm.registers(BOOT_REGISTERS)
        tpm.close()
        self.boot_registers = {
            name: (Digest.of(value),) for name, value in zip(BOOT_REGISTER_NAMES, registers, strict=True)
        }
        self.list.write_bytes(b"")
        self.run(b"boot_aggregate", sha256_raw(b"".join(registers[:10])))

    def restart(self) -> None:
        self.software.cut_power()
        self.software.start()

    def tpm(self) -> QuotingTpm:
        return QuotingTpm(open_tpm(self.software.name))

    def run(self, path: bytes, digest: bytes) -> None:
        line = ng_line(path, digest)
        with self.list.open("ab") as file:
            file.write(line)
        (one,) = read_list(line)
        tpm = self.tpm()
        tpm.extend(IMA_REGISTER, one.extends)
        tpm.close()

    def evidence(self, binding: bytes, activations: Activations) -> HostEvidence:
        attester = HostAttester(self.settings)
        try:
            attester.activate(challenge(attester.endorsement_area, attester.attestation_area, activations))
            return attester.evidence(binding)
        finally:
            attester.close()

    def verified(self, evidence: HostEvidence, activations: Activations) -> HostClaims:
        return verify_host(evidence, [self.authority.pinned], activations, AT)

    def close(self) -> None:
        self.software.close()

    def _write_certificates(self) -> None:
        tpm = self.tpm()
        key = tpm.endorsement_key
        assert isinstance(key, EndorsementKey)
        tpm.close()
        public = load_der_public_key(EccPublic("P-256", key.x, key.y).spki)
        (self.place / "ek.pem").write_bytes(self.authority.certify(public).public_bytes(Encoding.PEM))
        issuers = (self.authority.issuer, self.authority.root)
        (self.place / "issuers.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in issuers))
