"""`cloister verify quote|snp|gpu|object|model|receipt|host` (side: verifier; what has to do with a TPM, host)."""

from pathlib import Path

import click

from client import gpu_verification, hosts, receipt_checking, snp_verification, verification
from client.commands.options import PATH, Surroundings, party_command
from client.commands.types import DIGEST, DIRECTORY, FILE, MODEL, PARTY_KEY, REPORT_DATA
from common.enclave.roles import ROLES
from common.identifiers import Digest, ModelId, PartyKey
from common.messages.gpu_terms import GpuExposure, GpuTerms
from common.nvidia import gpu_nonce
from common.tpm_host.attester import BOOT_LOG, MEASUREMENT_LIST, HostSettings


@click.group()
def verify() -> None:
    """Check a quote, an SEV-SNP report, GPUs, a sealed object, a model, a receipt or this host by hand."""


@verify.command()
@click.argument("source", metavar="[EVIDENCE.json]", required=False, type=FILE)
@click.option("--role", type=click.Choice(sorted(ROLES)), default="broker", show_default=True)
@click.option("--at", type=click.IntRange(min=0), help="Of a stored quote: when, in Unix seconds (default: now).")
@click.option("-o", "--output", type=PATH, help="Of the broker's quote: keep it there, with its collateral.")
@party_command("owner")
def quote(here: Surroundings, source: Path | None, role: str, at: int | None, output: Path | None) -> None:
    """Verify a stored quote; without a file, the key broker's, fresh over our own nonce."""
    if source is None:
        if at is not None:
            raise click.UsageError("--at is for a stored quote: name its file")
        here.run(verification.verify_broker(here.party, output))
    elif output is not None:
        raise click.UsageError("-o keeps the broker's quote: name no file of another one")
    else:
        here.run(verification.verify_evidence(here.party, source, role, at))


@verify.command()
@click.argument("source", metavar="REPORT", type=FILE)
@click.option(
    "--certificate",
    "certificates",
    type=FILE,
    multiple=True,
    help="Of a bare report: VCEK or VLEK, ASK and ARK, PEM or DER, in one file or several.",
)
@click.option("--crl", type=FILE, help="Of a bare report: the ARK's revocation list, PEM or DER.")
@click.option("--value", type=FILE, help="What the guest must be: a `sev-snp` reference value (docs/sev-snp.md).")
@click.option("--report-data", type=REPORT_DATA, help="What the report must bind: 64 bytes in hexadecimal.")
@click.option("--at", type=click.IntRange(min=0), help="When, in Unix seconds (default: now).")
@click.option("--unsafe-root", type=FILE, help="Certificate of a test root that counts beside AMD's.")
@click.option("-o", "--output", type=PATH, help="Keep report, certificates and list there, as one evidence document.")
@party_command("owner")
def snp(
    here: Surroundings,
    source: Path,
    *,
    certificates: tuple[Path, ...],
    crl: Path | None,
    value: Path | None,
    report_data: bytes | None,
    at: int | None,
    unsafe_root: Path | None,
    output: Path | None,
) -> None:
    """Verify an attestation report of an AMD SEV-SNP guest: bare, or an evidence document."""
    shown = snp_verification.Shown(source, certificates, crl)
    asked = snp_verification.Asked(value, report_data, unsafe_root)
    here.run(snp_verification.verify(shown, asked, at, output))


@verify.command()
@click.argument("sources", metavar="EVIDENCE.json...", nargs=-1, required=True, type=FILE)
@click.option("--nonce", type=DIGEST, help="With which they were asked (default: not checked).")
@click.option("--report-data", type=REPORT_DATA, help="Of the processor's evidence: the nonce follows from it.")
@click.option("--at", type=click.IntRange(min=0), help="When, in Unix seconds (default: now).")
@click.option("--rim", "rims", type=FILE, multiple=True, help="Reference values of their drivers and VBIOSes (XML).")
@click.option("--ocsp", type=FILE, multiple=True, help="Answers of NVIDIA's OCSP responder about certificates (DER).")
@click.option("--gpus", type=click.IntRange(1, 32), help="How many GPUs there must be.")
@click.option("--min-driver", help="Oldest driver, as 580.159.03.")
@click.option(
    "--dangerously-allow",
    "open_points",
    type=click.Choice([one.value for one in GpuExposure]),
    multiple=True,
    help="What may stay unknown.",
)
@party_command("owner")
def gpu(
    here: Surroundings,
    sources: tuple[Path, ...],
    *,
    nonce: Digest | None,
    report_data: bytes | None,
    at: int | None,
    rims: tuple[Path, ...],
    ocsp: tuple[Path, ...],
    gpus: int | None,
    min_driver: str | None,
    open_points: tuple[str, ...],
) -> None:
    """Verify stored evidence of a host's NVIDIA GPUs and switches, as NVIDIA's tools write it."""
    if report_data is not None:
        if nonce is not None:
            raise click.UsageError("the nonce follows from --report-data: name one of both")
        nonce = Digest.of(gpu_nonce(report_data))
    allowed = tuple(map(GpuExposure, open_points))
    terms = GpuTerms(gpus=gpus, min_driver_version=min_driver, dangerously_allow=allowed)
    files = gpu_verification.GpuFiles(rims, ocsp)
    here.run(gpu_verification.verify_gpus(sources, files, terms, nonce.raw() if nonce else None, at))


@verify.command("object")
@click.argument("sealed", type=DIRECTORY)
@party_command("owner")
def sealed_object(here: Surroundings, sealed: Path) -> None:
    """Verify every byte of a sealed directory."""
    here.run(verification.verify_object(here.party, sealed))


@verify.command()
@click.argument("model_id", metavar="MODEL", type=MODEL)
@party_command("owner")
def model(here: Surroundings, model_id: ModelId) -> None:
    """Verify a model's manifest: what made it, and that it is of the stated order."""
    here.run(verification.verify_model(here.party, model_id))


@verify.command()
@click.argument("source", metavar="RECEIPT", type=FILE)
@click.option("--query", "query", type=FILE, help="What its user shows of the queries (RECEIPT.query).")
@click.option("--answer", "answer", type=FILE, help="What its user shows of the answers (RECEIPT.answer).")
@click.option("--user", type=PARTY_KEY, help="Who must have asked.")
@click.option("--model", "model_id", type=MODEL, help="Which model must have answered.")
@click.option("--release", type=DIGEST, help="Release under which it must stand (default: the pinned one).")
@party_command("owner")
def receipt(
    here: Surroundings,
    source: Path,
    *,
    query: Path | None,
    answer: Path | None,
    user: PartyKey | None,
    model_id: ModelId | None,
    release: Digest | None,
) -> None:
    """Verify receipts of answers, offline: which enclave answered, by which model, and what, where it is shown."""
    wanted = receipt_checking.Wanted(user, model_id, release)
    here.run(receipt_checking.verify(here.party, source, wanted, query, answer))


@verify.command()
@click.option("--profile", type=DIRECTORY, required=True, help="As `cloister host profile` wrote it.")
@click.option("--signer", type=PARTY_KEY, help="Who must have signed the profile (default: this identity).")
@click.option("--issuers", type=FILE, required=True, help="PEM: who issued the EK certificate, up to the root.")
@click.option("--certificate", type=FILE, help="PEM: the EK certificate, where the TPM does not hold it.")
@click.option("--ek-root", type=DIGEST, help="SHA-256 of the allowed root's key (default: the issuers' last).")
@click.option("--signing-key", "signing_keys", type=FILE, multiple=True, help="A key that signed files here (DER).")
@click.option("--tpm", default="/dev/tpmrm0", show_default=True)
@click.option("--list", "measurement_list", type=PATH, default=MEASUREMENT_LIST, show_default=True)
@click.option("--boot-log", type=PATH, default=BOOT_LOG, show_default=True)
@click.option("--without-boot-log", is_flag=True)
@party_command("owner")
def host(
    here: Surroundings,
    *,
    profile: Path,
    signer: PartyKey | None,
    issuers: Path,
    certificate: Path | None,
    ek_root: Digest | None,
    signing_keys: tuple[Path, ...],
    tpm: str,
    measurement_list: Path,
    boot_log: Path,
    without_boot_log: bool,
) -> None:
    """Judge this measured host as a verifier would: its TPM, how it booted, and what it ran (docs/host-profile.md)."""
    settings = HostSettings(
        tpm=tpm, boot_log=None if without_boot_log else boot_log, measurement_list=measurement_list, issuers=issuers,
        certificate=certificate, signing_keys=signing_keys,
    )  # fmt: skip
    here.run(hosts.verify_this_host(here.party, settings, profile, signer, ek_root))
