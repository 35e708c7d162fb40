"""Keys of every kind that may quote, and what none may be."""

import struct
from hashlib import sha384

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from common.crypto.tpm_keys import make_rsa_credential
from common.crypto.tpm_signatures import RsaPublic
from common.errors import AuthenticityError, FormatError
from common.tpm.layouts import sized
from common.tpm_ima.key_areas import parse_host_key
from common.tpm_ima.quote_format import parse_tpm_signature
from common.tpm_ima.verification import require_signed

SIGNED = b"what a TPM made"
ATTRIBUTES = 0x00050072
RSA, ECC, NULL, PSS, V15, ECDSA = 1, 0x23, 0x10, 0x16, 0x14, 0x18


def rsa_area(modulus: bytes, *, scheme: int = PSS, exponent: int = 0, bits: int = 2048, hashed: int = 0xB) -> bytes:
    return (
        struct.pack(">HHIH", RSA, 0xB, ATTRIBUTES, 0)
        + struct.pack(">HHHHI", NULL, scheme, hashed, bits, exponent)
        + sized(modulus)
    )


def ecc_area(x: bytes, y: bytes, *, curve: int = 4, derivation: int = NULL, symmetric: int = NULL) -> bytes:
    head = struct.pack(">HHIH", ECC, 0xC, ATTRIBUTES, 0)
    return head + struct.pack(">HHHHH", symmetric, ECDSA, 0xC, curve, derivation) + sized(x) + sized(y)


@pytest.mark.parametrize("scheme", [PSS, V15])
def test_an_rsa_key_quotes_by_its_own_scheme(scheme: int) -> None:
    private = rsa.generate_private_key(65537, 2048)
    area = rsa_area(private.public_key().public_numbers().n.to_bytes(256, "big"), scheme=scheme)
    made = {
        PSS: private.sign(SIGNED, padding.PSS(padding.MGF1(SHA256()), 32), SHA256()),
        V15: private.sign(SIGNED, padding.PKCS1v15(), SHA256()),
    }
    for stated, signature in made.items():
        shown = parse_tpm_signature(struct.pack(">HH", stated, 0xB) + sized(signature))
        if stated == scheme:
            require_signed(parse_host_key(area), shown, SIGNED)
        else:
            with pytest.raises(AuthenticityError, match="authenticity.host"):
                require_signed(parse_host_key(area), shown, SIGNED)


def test_a_key_on_p384_quotes_by_sha384() -> None:
    private = ec.generate_private_key(ec.SECP384R1())
    numbers = private.public_key().public_numbers()
    area = ecc_area(*(one.to_bytes(48, "big") for one in (numbers.x, numbers.y)))
    key = parse_host_key(area)
    r, s = decode_dss_signature(private.sign(SIGNED, ec.ECDSA(SHA384())))
    shown = struct.pack(">HH", ECDSA, 0xC) + sized(r.to_bytes(48, "big")) + sized(s.to_bytes(48, "big"))
    require_signed(key, parse_tpm_signature(shown), SIGNED)
    assert key.name == b"\0\x0c" + sha384(area).digest()
    with pytest.raises(AuthenticityError, match="authenticity.host"):
        require_signed(key, parse_tpm_signature(shown), SIGNED + b"\0")


@pytest.mark.parametrize(
    "area",
    [
        rsa_area(bytes(256), scheme=ECDSA),
        rsa_area(bytes(256), scheme=NULL),
        rsa_area(bytes(256), hashed=0x4),
        rsa_area(bytes(256), exponent=3),
        rsa_area(bytes(128), bits=1024),
        rsa_area(bytes(128)),
        ecc_area(bytes(48), bytes(48), curve=3),
        ecc_area(bytes(48), bytes(47)),
        ecc_area(bytes(48), bytes(48), curve=5),
        ecc_area(bytes(48), bytes(48), derivation=0x22),
        ecc_area(bytes(48), bytes(48), symmetric=6),
        struct.pack(">HHIH", 8, 0xB, ATTRIBUTES, 0),
        b"",
    ],
)
def test_other_keys_may_not_quote(area: bytes) -> None:
    with pytest.raises(FormatError, match="format.host_evidence"):
        parse_host_key(area)


@pytest.mark.parametrize("modulus", [bytes(256), b"\0" * 255 + b"\3", b"\xff" * 255 + b"\xfe"])
def test_no_rsa_key_gets_a_credential_or_verifies(modulus: bytes) -> None:
    with pytest.raises(FormatError, match="format.message"):
        make_rsa_credential(modulus, b"name", bytes(32))
    with pytest.raises((FormatError, AuthenticityError)):
        RsaPublic(modulus).verify("rsassa", "sha256", (bytes(256),), SIGNED)
