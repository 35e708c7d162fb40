"""Measured hosts: a profile of what one may run is made and signed; one is judged as a verifier would (side: owner).

A profile is a directory: `profile.json`, signed, and `files`, which it names by digest.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.x509 import load_pem_x509_certificates

from client.context import Party
from client.durable_file import replace_durably
from client.events import Event, HostProfileMade, Noted, Verified
from common.certificate_links import root_key_sha256
from common.crypto.digests import sha256, sha256_file
from common.crypto.tpm_keys import Activations
from common.dcap import require_trust_level
from common.errors import AppraisalError, ConflictError, FormatError
from common.identifiers import Digest, PartyKey
from common.messages.evidence import TrustLevel
from common.messages.host_profile import BOOT_REGISTER_NAMES, HostProfile, PathPattern, ProfileName
from common.messages.signed import Signed, open_signed, sign
from common.tpm_host.attester import HostAttester, HostSettings
from common.tpm_host.device import open_tpm
from common.tpm_host.quoting import QuotingTpm
from common.tpm_ima.allowed_files import AllowedFiles, files_text
from common.tpm_ima.appraisal import any_of, appraise_host
from common.tpm_ima.endorsement import challenge
from common.tpm_ima.ima_list import read_list
from common.tpm_ima.ima_replay import BOOT_AGGREGATE
from common.tpm_ima.registers import BOOT_REGISTERS
from common.tpm_ima.verification import host_binding, require_host_binding, verify_host

PROFILE, FILES = "profile.json", "files"
AnyT = TypeVar("AnyT")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a profile shall say beside its files. `signing_keys` are files with SubjectPublicKeyInfo in DER."""

    name: str
    exclusions: tuple[str, ...] = ()
    signing_keys: tuple[Path, ...] = ()
    has_boot_log: bool = True
    may_be_written: bool = False


def claims_of_list(measurement_list: Path, left_out: Iterable[str]) -> Iterator[bytes]:
    """What ran according to a list that Linux, or the recorder, has kept. Raises `FormatError`."""
    excluded = any_of([PathPattern(one) for one in left_out])
    for one in read_list(measurement_list.read_bytes()):
        if one.path != BOOT_AGGREGATE and not one.is_violation and excluded.fullmatch(one.path) is None:
            yield one.claim


def claims_of_tree(tree: Path, mounted_at: Path, left_out: Iterable[str]) -> Iterator[bytes]:
    """Every regular file below a directory that will lie at `mounted_at` on the host."""
    excluded = any_of([PathPattern(one) for one in left_out])
    for place, _, names in os.walk(tree):
        for path in (Path(place, name) for name in names):
            named = os.fsencode(mounted_at / path.relative_to(tree)).replace(b" ", b"_")  # as Linux does
            if path.is_file() and not path.is_symlink() and excluded.fullmatch(named) is None:
                yield b"sha256:%b %b" % (sha256_file(path).encode(), named)


def make_profile(
    party: Party, wanted: Wanted, claims: Iterable[bytes], tpm: str, previous: Path | None, destination: Path
) -> Iterator[Event]:
    """Sign a profile of these files, and of how this machine was booted (by its TPM). Ends with `HostProfileMade`.

    With `previous`, all that it allows stays allowed, and the new one is numbered after it.
    Raises `FormatError`, `UnavailableError` (unavailable.tpm), `ConflictError` (conflict.sealed_directory); for
    `previous`, `AuthenticityError` (authenticity.signature), `AppraisalError` (appraisal.host_profile).
    """
    if destination.exists():
        raise ConflictError("conflict.sealed_directory", expected="a new directory", seen=destination)
    key = party.identity.signing_key
    before, known = (None, frozenset[bytes]()) if previous is None else _read(previous, key.party)
    text = files_text({*claims, *known})
    profile = HostProfile(
        name=ProfileName(wanted.name),
        number=1 if before is None else before.number + 1,
        files=sha256(text),
        exclusions=_all(() if before is None else before.exclusions, map(PathPattern, wanted.exclusions)),
        violations="any" if wanted.may_be_written or (before and before.violations == "any") else "none",
        signing_keys=_all(() if before is None else before.signing_keys, map(sha256_file, wanted.signing_keys)),
        boot_registers={
            name: _all(() if before is None else before.boot_registers[name], (value,))
            for name, value in _registers_now(tpm).items()
        },
        boot_log="required" if wanted.has_boot_log else "none",
        created=int(time.time()),
    )
    replace_durably(destination / FILES, text)
    signed = sign(profile, key)
    replace_durably(destination / PROFILE, signed.encode())
    yield HostProfileMade(
        name=profile.name, number=profile.number, files=text.count(b"\n"), digest=signed.digest,
        signer=key.party, place=str(destination),
    )  # fmt: skip


def verify_this_host(
    party: Party, settings: HostSettings, profile: Path, holder: PartyKey | None, authority: Digest | None
) -> Iterator[Event]:
    """Attest this machine and judge it, as a verifier does: activation, quote, lists, profile. Ends with `Verified`.

    `holder` must have signed the profile (default: this identity); `authority`: which EK root is allowed (default: the
    last certificate of `issuers`, which shows that the chain is right, not that anybody trusts it).
    Raises what verification raises.
    """
    activations = Activations()
    signed_by = party.identity.signing_key.party if holder is None else holder
    allowed, files = _open(profile, signed_by)
    report_data = hashlib.sha512(os.urandom(32)).digest()
    attester = HostAttester(settings)
    try:
        attester.activate(challenge(attester.endorsement_area, attester.attestation_area, activations))
        evidence = attester.evidence(host_binding(report_data))
    finally:
        attester.close()
    root = _root(settings.issuers) if authority is None else authority
    claims = verify_host(evidence, [root], activations, int(time.time()))
    require_host_binding(claims, report_data)
    floor = TrustLevel.SIMULATION if party.identity.unsafe_simulation else TrustLevel.TPM_IMA
    require_trust_level(claims.trust_level, floor)
    appraise_host(claims, allowed, files)
    if authority is None:
        text = f"Nobody has said that EK authority {root} is to be trusted: name it (--ek-root)."
        yield Noted(text=text, warning=True)
    yield Verified(
        subject=f"host {claims.endorsement_key} ({claims.trust_level})",
        checks=(
            f"certificates tie its TPM to EK authority {root}, and its attestation key is in that TPM",
            "the quote is fresh, and for our nonce; registers are the quoted ones",
            f"it booted as profile {allowed.name} {allowed.number} says, boot log: {allowed.boot_log}",
            f"{len(claims.entries) - 1} files ran, all of them allowed",
        ),
    )


def _all(known: tuple[AnyT, ...], added: Iterable[AnyT]) -> tuple[AnyT, ...]:
    """Each once, those of before first."""
    return tuple(dict.fromkeys((*known, *added)))


def _registers_now(tpm: str) -> dict[str, Digest]:
    opened = QuotingTpm(open_tpm(tpm))
    try:
        values = opened.registers(BOOT_REGISTERS)
    finally:
        opened.close()
    return {name: Digest.of(value) for name, value in zip(BOOT_REGISTER_NAMES, values, strict=True)}


def _read(place: Path, holder: PartyKey) -> tuple[HostProfile, frozenset[bytes]]:
    profile, files = _open(place, holder)
    return profile, files.claims


def _open(place: Path, holder: PartyKey) -> tuple[HostProfile, AllowedFiles]:
    """A profile of this holder, and the files that it names."""
    try:
        signed, text = Signed.decode((place / PROFILE).read_bytes()), (place / FILES).read_bytes()
    except OSError as cause:
        seen = f"{cause.filename}: {cause.strerror}"
        raise AppraisalError("appraisal.host_profile", expected=f"{PROFILE} and {FILES}", seen=seen) from cause
    profile, files = open_signed(signed, HostProfile, [holder]), AllowedFiles.parse(text)
    if files.digest != profile.files:
        raise AppraisalError("appraisal.host_profile", expected=f"files {profile.files}", seen=files.digest)
    return profile, files


def _root(issuers: Path) -> Digest:
    try:
        return root_key_sha256(load_pem_x509_certificates(issuers.read_bytes())[-1])
    except ValueError as cause:
        raise FormatError("format.message", expected="certificates in PEM", seen=issuers) from cause
