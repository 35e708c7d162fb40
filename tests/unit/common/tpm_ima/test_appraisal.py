"""What a profile allows, and that nothing is allowed without one."""

import itertools
import re
import struct
import time
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.crypto.digests import sha256 as digest_of
from common.crypto.signing import SigningKey
from common.errors import AppraisalError, AuthenticityError, FormatError
from common.identifiers import Digest
from common.messages.host_profile import BOOT_REGISTER_NAMES, HostProfile, PathPattern
from common.messages.signed import sign
from common.tpm_ima.allowed_files import AllowedFiles, files_text
from common.tpm_ima.appraisal import any_of, appraise_host, open_profile
from common.tpm_ima.ima_list import read_list
from common.tpm_ima.verification import verify_host
from tests.fakes.ek_authority import AT
from tests.fakes.forged_host import (
    BOOTED,
    ForgedHost,
    claims_of,
    files,
    lines_of,
    ng_line,
    profile_for,
    sig_line,
    violation,
)

HOST = ForgedHost()
LINES = lines_of(20)
CLAIMS = claims_of(files(20))
STRANGE = sha256(b"strange").digest()


def judge(lines: list[bytes], claims: list[bytes] = CLAIMS, shown: tuple[bytes, ...] = (), **other: Any) -> None:
    verified = verify_host(HOST.evidence(lines, signing_keys=shown), [HOST.authority.pinned], HOST.activations, AT)
    appraise_host(verified, *profile_for(claims, **other))


def outside(lines: list[bytes], code: str = "appraisal.host_file", **other: Any) -> None:
    with pytest.raises(AppraisalError, match=code):
        judge(lines, **other)


def test_what_the_profile_lists_may_run_and_nothing_else() -> None:
    judge(LINES)
    outside([*LINES, ng_line(b"/usr/bin/strange", STRANGE)])
    outside([*LINES, ng_line(files(1)[0][0], STRANGE)])  # the path is known, the content is not
    outside([*LINES, ng_line(b"/usr/bin/strange", files(1)[0][1])])  # the content is, the path is not
    outside(LINES, claims=CLAIMS[1:])
    outside(LINES, claims=[])


def test_a_second_boot_aggregate_is_no_file() -> None:
    outside([*LINES, LINES[0]])


@pytest.mark.parametrize(
    ("pattern", "path", "passes"),
    [
        ("/var/log/app/", b"/var/log/app/a/b", True),
        ("/var/log/app/", b"/var/log/app/", False),
        ("/var/log/app/", b"/var/log/application", False),
        ("/var/log/app/", b"/x/var/log/app/a", False),
        ("/var/log/app/", b"/var/log/app/../../../usr/bin/a", False),
        ("/var/log/*.log", b"/var/log/a.log", True),
        ("/var/log/*.log", b"/var/log/a/b.log", False),
        ("/var/log/*.log", b"/var/log/.log", False),
        ("/var/log/a.b", b"/var/log/axb", False),
        ("/opt/tool", b"/opt/tool", True),
        ("/opt/tool", b"/opt/tool2", False),
    ],
)
def test_an_exclusion_is_of_its_paths_alone(pattern: str, path: bytes, *, passes: bool) -> None:
    lines = [*LINES, ng_line(path, STRANGE)]
    if passes:
        judge(lines, exclusions=(PathPattern(pattern),))
    else:
        outside(lines, exclusions=(PathPattern(pattern),))


@pytest.mark.parametrize(
    "text", ["/", "/usr/", "/*", "/a*/b", "usr/lib/", "/usr/lib/*/", "/usr//lib/", "/usr /lib/", ""]
)
def test_an_exclusion_is_narrow(text: str) -> None:
    with pytest.raises(FormatError, match="format.identifier"):
        PathPattern(text)


@pytest.mark.parametrize("text", ["/usr/../", "/usr/lib/*", "/usr/./a", "/usr/lib/..", "/usr/lib/*.*"])
def test_an_exclusion_neither_climbs_nor_names_everything(text: str) -> None:
    raw = profile_for(CLAIMS)[0].encode().replace(b'"exclusions":[]', f'"exclusions":["{text}"]'.encode())
    with pytest.raises(FormatError, match="format.message"):
        HostProfile.decode(raw)


def test_a_profile_can_not_tell_violations_apart_by_their_paths() -> None:
    """Register 10 is the same whatever path is shown."""
    one, other = read_list(violation(b"/usr/bin/strange") + violation(b"/var/lib/app/data"))
    assert one.extends == other.extends
    raw = profile_for(CLAIMS)[0].encode()
    assert b'"violations":"none"' in raw
    for wrong in (b'["/var/lib/app/"]', b'"/var/lib/app/"', b"[]", b'"some"'):
        with pytest.raises(FormatError, match="format.message"):
            HostProfile.decode(raw.replace(b'"violations":"none"', b'"violations":' + wrong))


@pytest.mark.parametrize("last", ["*a", "a*", "*a*", "a*b", "a*b*", "*ab*a", "*a*b*a", "a*a*a", "*a**b", "**a"])
def test_a_pattern_matches_as_its_stars_say(last: str) -> None:
    """Held against an expression that tries every way, over all short names."""
    every_way = re.compile("/var/log/" + last.replace("*", "[^/]+"))
    pattern = any_of([PathPattern(f"/var/log/{last}")])
    for size in range(1, 8):
        for name in map("".join, itertools.product("ab/", repeat=size)):
            path = f"/var/log/{name}"
            assert (pattern.fullmatch(path.encode()) is None) == (every_way.fullmatch(path) is None), path


@pytest.mark.parametrize("last", ["*a*a*a*a*a*a*a*b", "a" + "*a" * 40 + ".log", "*aaaa*aaaa*aaaa*.b"])
def test_no_path_makes_matching_slow(last: str) -> None:
    pattern = any_of([PathPattern(f"/var/log/{last}")] * 8)
    started = time.monotonic()
    assert pattern.fullmatch(b"/var/log/" + b"a" * 4000) is None
    assert pattern.fullmatch(b"/var/log/" + b"aaaab" * 800 + b"c") is None
    assert time.monotonic() - started < 5


def test_a_file_that_is_written_while_it_runs_is_refused() -> None:
    lines = [*LINES, violation(b"/var/lib/app/data")]
    outside(lines)
    outside(lines, exclusions=(PathPattern("/var/lib/app/"),))  # its content would be allowed, its changing is not
    judge(lines, violations="any")
    judge([*LINES, violation(b"/usr/bin/strange")], violations="any")  # by its path nobody can tell them apart
    outside([*lines, ng_line(b"/usr/bin/strange", STRANGE)], violations="any")


def test_a_file_signed_by_a_listed_key_may_run() -> None:
    key = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    rsa_public, ec_public = (
        one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for one in (key, curve)
    )
    by_rsa = key.sign(STRANGE, padding.PKCS1v15(), Prehashed(SHA256()))
    by_ec = curve.sign(STRANGE, ec.ECDSA(Prehashed(SHA256())))
    for public, signature in ((rsa_public, by_rsa), (ec_public, by_ec)):
        whole = bytes([3, 2, 4]) + b"\1\2\3\4" + struct.pack(">H", len(signature)) + signature
        lines = [*LINES, sig_line(b"/usr/bin/signed", STRANGE, whole)]
        listed: dict[str, Any] = {"signing_keys": (digest_of(public),)}
        judge(lines, shown=(public,), **listed)
        outside(lines, shown=(public,))
        outside(lines, **listed)
        outside(lines, shown=(b"other",), **listed)
        for spoilt in (whole[:-1], whole + b"\0", b"\4" + whole[1:], whole[:2] + b"\5" + whole[3:], b"", whole[:8]):
            outside([*LINES, sig_line(b"/usr/bin/signed", STRANGE, spoilt)], shown=(public,), **listed)
        outside([*LINES, sig_line(b"/usr/bin/signed", files(1)[0][1], whole)], shown=(public,), **listed)


def test_it_booted_as_the_profile_says() -> None:
    values = {name: (Digest.of(BOOTED[int(name)]),) for name in BOOT_REGISTER_NAMES}
    judge(LINES, boot_registers=values | {"7": (Digest.of(STRANGE), *values["7"])})
    for name in BOOT_REGISTER_NAMES:
        outside(LINES, "appraisal.host_boot", boot_registers=values | {name: (Digest.of(STRANGE),)})
    outside(LINES, "appraisal.host_boot", boot_log="required")


def test_a_profile_names_every_register() -> None:
    values = {name: (Digest.of(BOOTED[int(name)]),) for name in BOOT_REGISTER_NAMES}
    for wrong in (values | {"10": values["0"]}, {name: values[name] for name in BOOT_REGISTER_NAMES[1:]}, {}):
        with pytest.raises(ValueError, match="boot_registers"):
            profile_for(CLAIMS, boot_registers=wrong)


def test_files_are_those_that_the_profile_names() -> None:
    verified = verify_host(HOST.evidence(LINES), [HOST.authority.pinned], HOST.activations, AT)
    more = AllowedFiles.parse(files_text([*CLAIMS, *claims_of([(b"/usr/bin/strange", STRANGE)])]))
    with pytest.raises(AppraisalError, match="appraisal.host_profile"):
        appraise_host(verified, profile_for(CLAIMS)[0], more)


def test_a_profile_is_there_signed_and_named() -> None:
    holder, stranger = SigningKey.generate(), SigningKey.generate()
    profile, _ = profile_for(CLAIMS)
    documents = {"gpu-host": sign(profile, holder), "another": sign(profile, holder)}
    assert open_profile(documents, "gpu-host", [holder.party]) == profile
    with pytest.raises(AppraisalError, match="appraisal.host_profile"):
        open_profile(documents, "missing", [holder.party])
    with pytest.raises(AppraisalError, match="appraisal.host_profile"):
        open_profile({}, "gpu-host", [holder.party])
    with pytest.raises(AppraisalError, match="appraisal.host_profile"):
        open_profile(documents, "another", [holder.party])
    for name in ("", "../gpu-host", "GPU-host", "gpu-host\n", "gpu host", "9", "a" * 64):
        with pytest.raises(FormatError, match="format.identifier"):
            open_profile(documents, name, [holder.party])
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        open_profile({"gpu-host": sign(profile, stranger)}, "gpu-host", [holder.party])


@pytest.mark.parametrize(
    "text",
    [
        CLAIMS[0],
        CLAIMS[0] + b"\n\n",
        CLAIMS[1] + b"\n" + CLAIMS[0] + b"\n" if CLAIMS[1] > CLAIMS[0] else CLAIMS[0] + b"\n" + CLAIMS[1] + b"\n",
        CLAIMS[0] + b"\n" + CLAIMS[0] + b"\n",
        b"sha1:" + b"a" * 40 + b" /bin/sh\n",
        b"sha256:" + b"A" * 64 + b" /bin/sh\n",
        b"sha256:" + b"a" * 64 + b" bin/sh\n",
        b"sha256:" + b"a" * 64 + b" /bin/s h\n",
        b"sha256:" + b"a" * 64 + b" /bin/\n",
        b"sha256:" + b"0" * 64 + b" /bin/sh\n",
    ],
)  # fmt: skip
def test_a_text_of_files_has_one_form(text: bytes) -> None:
    with pytest.raises(FormatError, match="format.message"):
        AllowedFiles.parse(text)
