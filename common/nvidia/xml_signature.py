"""Who signed a document: the one enveloped signature in it (side: verifier).

XML Signature (https://www.w3.org/TR/xmldsig-core1/) in the one form that NVIDIA's reference values have: it is the
root's last element and signs the whole document without itself, by ECDSA P-384 over Canonical XML 1.1 and SHA-384. What
is read of the document afterwards is the very tree that was signed, so nothing in it can be moved out of the
signature's reach.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from common.errors import AuthenticityError, FormatError
from common.nvidia.canonical_xml import Element, canonicalize
from common.nvidia.signed_by import is_signed_by

XML_SIGNATURE: Final = "http://www.w3.org/2000/09/xmldsig#"
_CANONICAL_XML: Final = "http://www.w3.org/2006/12/xml-c14n11"
_SIGNED_INFO: Final = (
    ("CanonicalizationMethod", _CANONICAL_XML),
    ("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"),
    ("Reference", ""),
    ("Transforms", None),
    ("Transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature"),
    ("Transform", _CANONICAL_XML),
    ("DigestMethod", "http://www.w3.org/2001/04/xmldsig-more#sha384"),
    ("DigestValue", None),
)
"""Every element of SignedInfo in its order, with its algorithm or URI."""


@dataclass(frozen=True, slots=True)
class UnverifiedSignature:
    """A signature and the certificates beside it (DER, the signer's first), nothing checked. `body` is without it."""

    element: Element
    body: tuple[Element, ...]
    certificates: tuple[bytes, ...]


def split_signature(root: Element) -> UnverifiedSignature:
    """Find the signature. Raises `FormatError` (format.rim)."""
    *body, element = root.elements or [root]
    if element.name != (XML_SIGNATURE, "Signature") or any(one.name[0] == XML_SIGNATURE for one in body):
        raise _wrong("a signature as the root's last element, and no other", element.written)
    _, _, key_info = _three(element)
    certificates = [one for data in key_info.elements for one in data.elements]
    return UnverifiedSignature(element, tuple(body), tuple(_base64(one.text) for one in certificates))


def require_signed_by(key: object, root: Element, signature: UnverifiedSignature) -> None:
    """Raise `AuthenticityError` (authenticity.rim) unless this key signed the document.

    (a) SignedInfo says exactly that the document without its signature is signed, and how;
    (b) its digest is that of the document;
    (c) the key's signature is over it.

    Raises `FormatError` (format.rim) for (a).
    """
    signed_info, value, _ = _three(signature.element)
    said = tuple(_statements(signed_info))
    if said != _SIGNED_INFO:  # (a)
        raise _wrong("ECDSA-SHA384 over the document in Canonical XML 1.1", said)
    digest = signed_info.elements[2].elements[2].text
    made = hashlib.sha384(canonicalize(root, without=signature.element)).digest()
    if not hmac.compare_digest(_base64(digest), made):  # (b)
        raise AuthenticityError("authenticity.rim", expected=f"the document of digest {digest}", seen=made.hex())
    if not is_signed_by(key, _base64(value.text), canonicalize(signed_info)):  # (c)
        raise AuthenticityError("authenticity.rim", expected="signed by the certificate in it")


def _statements(element: Element) -> list[tuple[str, str | None]]:
    """Names of the elements in it, depth first, each with its one attribute."""
    found = list[tuple[str, str | None]]()
    for one in element.elements:
        namespace, local = one.name
        named = "URI" if local == "Reference" else "Algorithm"
        if namespace != XML_SIGNATURE or one.attributes.keys() - {("", named)}:
            raise _wrong("SignedInfo without more", one.written)
        found.append((local, one.attribute(named) if one.attributes else None))
        found += _statements(one) if local != "DigestValue" else []
    return found


def _three(signature: Element) -> tuple[Element, Element, Element]:
    names = [(XML_SIGNATURE, local) for local in ("SignedInfo", "SignatureValue", "KeyInfo")]
    if [one.name for one in signature.elements] != names:
        raise _wrong("SignedInfo, SignatureValue, KeyInfo", [one.written for one in signature.elements])
    signed_info, value, key_info = signature.elements
    return signed_info, value, key_info


def _base64(text: str) -> bytes:
    """Lines of base64 that spell the bytes in the one canonical way."""
    letters = text.replace("\n", "")
    try:
        raw = base64.b64decode(letters, validate=True)
    except ValueError as cause:
        raise _wrong("base64", cause) from None
    if base64.b64encode(raw).decode() != letters:
        raise _wrong("canonical base64", letters[:16])
    return raw


def _wrong(expected: str, seen: object) -> FormatError:
    return FormatError("format.rim", expected=expected, seen=seen)
