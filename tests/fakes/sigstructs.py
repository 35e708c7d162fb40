"""SIGSTRUCTs by the byte, signed with a test key: what `gramine-sgx-sign` writes, with chosen defects."""

from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

KEY_BYTES: Final = 384
FLAGS_MASK: Final = 2**64 - 1
XFRM_MASK: Final = 2**64 - 1 - 0x602E4
"""Gramine compares all flags, and of XFRM all but AVX, AVX-512, PKRU and AMX, unless a manifest says otherwise."""


@cache
def signer() -> RSAPrivateKey:
    """RSA-3072 with exponent 3, as SGX demands."""
    return generate_private_key(public_exponent=3, key_size=3072)


def little(number: int, size: int) -> bytes:
    return number.to_bytes(size, "little")


def modulus(key: RSAPrivateKey | None = None) -> bytes:
    return little((key or signer()).public_key().public_numbers().n, KEY_BYTES)


def unsigned(mr_enclave: bytes, **fields: int) -> bytearray:
    """Everything but key and signature."""
    raw = bytearray(1808)
    raw[0:16] = bytes.fromhex("06000000E10000000000010000000000")
    raw[20:24] = bytes.fromhex("1f0ce807")
    raw[24:40] = bytes.fromhex("01010000600000006000000001000000")
    raw[900:904] = little(fields.get("misc_select", 0), 4)
    raw[904:908] = little(2**32 - 1, 4)
    raw[928:936] = little(fields.get("flags", 0x04), 8)
    raw[936:944] = little(fields.get("xfrm", 0x03), 8)
    raw[944:952] = little(FLAGS_MASK, 8)
    raw[952:960] = little(fields.get("xfrm_mask", XFRM_MASK), 8)
    raw[960:992] = mr_enclave
    raw[1024:1026] = little(fields.get("isv_prod_id", 0), 2)
    raw[1026:1028] = little(fields.get("isv_svn", 0), 2)
    return raw


def signed(raw: bytearray, key: RSAPrivateKey | None = None) -> bytes:
    """With key, signature and the two quotients."""
    key = key or signer()
    n = key.public_key().public_numbers().n
    signature = int.from_bytes(key.sign(bytes(raw[:128] + raw[900:1028]), PKCS1v15(), SHA256()))
    raw[128:512], raw[512:516], raw[516:900] = modulus(key), little(3, 4), little(signature, KEY_BYTES)
    raw[1040:1424] = little(signature**2 // n, KEY_BYTES)
    raw[1424:1808] = little(signature**2 % n * signature // n, KEY_BYTES)
    return bytes(raw)


def sigstruct(mr_enclave: bytes, **fields: int) -> bytes:
    """A good one."""
    return signed(unsigned(mr_enclave, **fields))
