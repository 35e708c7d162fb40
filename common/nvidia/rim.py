"""Reference values that NVIDIA signed: what a driver or VBIOS measures when it is unchanged (side: verifier).

The format is the TCG's "Reference Integrity Manifest Information Model", as an ISO 19770-2 SWID tag. In this order:

  (1) it is a plain XML document with one signature (`canonical_xml`, `xml_signature`);
  (2) the certificates in it are a chain in which everyone is in its role and valid, under the pinned key
      (`certificates`);
  (3) the first one's key signed the document;
  (4) it says of what it speaks, and for each index once, whether it counts and which digests are good.

The SDK (rim.cpp) looks for elements wherever they stand; here they stand in their place, and nothing else is there.
What a document does *not* say is the board: two boards' VBIOSes of one version are told apart by their digests alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from common.crypto.digests import sha256
from common.errors import FormatError
from common.identifiers import Digest
from common.messages.gpu_evidence import GpuRoots
from common.messages.gpu_terms import DRIVER_VERSION, VBIOS_VERSION
from common.nvidia.canonical_xml import Element, parse_xml
from common.nvidia.certificates import RIM_CERTIFICATES, Chain, require_chain
from common.nvidia.xml_signature import UnverifiedSignature, require_signed_by, split_signature

SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
SHA384: Final = "http://www.w3.org/2001/04/xmlenc#sha384"
TCG_RIM: Final = "https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/"
"""Namespaces."""

NVIDIA: Final = "5703"
"""Its number as a manufacturer of firmware (IANA's private enterprise numbers)."""

_BODY: Final = [(SWID, local) for local in ("Entity", "Meta", "Payload")]
_EDITIONS: Final = {"GPU": False, "SWITCH": True}
_STATED: Final = {"True": True, "False": False}
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,2}")
_DIGEST: Final = re.compile(r"[0-9a-f]{96}")
_KNOWN_RIMS: Final = 32
"""How many documents are remembered: they repeat from report to report."""


@dataclass(frozen=True, slots=True)
class ReferenceValues:
    """What one document says. `golden`: for each index that counts, the digests that are good, any one of them.

    `chip` is spelt as devices spell it but for underscores, `of_switch` whether it is a switch's; `version` is a
    driver's or a VBIOS's, told apart by their form. `digest` is over the XML.
    """

    chip: str
    of_switch: bool
    version: str
    golden: Mapping[int, tuple[bytes, ...]]
    digest: Digest
    chain: Chain

    @property
    def of_vbios(self) -> bool:
        """Whether it is of a VBIOS, and not of a driver."""
        return re.fullmatch(VBIOS_VERSION, self.version) is not None


def verify_rim(raw: bytes, roots: GpuRoots, at: int) -> ReferenceValues:
    """What authentic reference values say. `at` is Unix time in seconds.

    Raises `FormatError` (1, 2, 4), `AuthenticityError` (2, 3), `AppraisalError` (2) or `FreshnessError` (2).
    """
    _, signature = _parsed(raw)  # (1)
    chain = require_chain(signature.certificates, RIM_CERTIFICATES, "rim", roots.rim_key_sha256, at)  # (2)
    return _verified(raw, chain)  # (3), (4)


@lru_cache(maxsize=_KNOWN_RIMS)
def _parsed(raw: bytes) -> tuple[Element, UnverifiedSignature]:
    root = parse_xml(raw)
    return root, split_signature(root)


@lru_cache(maxsize=_KNOWN_RIMS)
def _verified(raw: bytes, chain: Chain) -> ReferenceValues:
    root, signature = _parsed(raw)
    require_signed_by(chain.leaf.public_key(), root, signature)
    if root.name != (SWID, "SoftwareIdentity") or [one.name for one in signature.body] != _BODY:
        raise _wrong("a SWID tag of Entity, Meta and Payload", [one.written for one in signature.body])
    _, meta, payload = signature.body
    edition, version = meta.attribute("edition"), meta.attribute("colloquialVersion")
    if edition not in _EDITIONS or meta.attribute("FirmwareManufacturerId", TCG_RIM) != NVIDIA:
        raise _wrong("a GPU's or switch's, by NVIDIA", edition)
    if not any(re.fullmatch(form, version) for form in (DRIVER_VERSION, VBIOS_VERSION)):
        raise _wrong("a driver's or VBIOS's version", version)
    return ReferenceValues(
        chip=meta.attribute("product").replace("_", ""),
        of_switch=_EDITIONS[edition],
        version=version,
        golden=_golden(payload),
        digest=sha256(raw),
        chain=chain,
    )


def _golden(payload: Element) -> Mapping[int, tuple[bytes, ...]]:
    """Digests by index, of those that count (`active`); each index stands once, whether it counts or not."""
    every, counting = set[str](), dict[int, tuple[bytes, ...]]()
    for one in payload.elements:
        index, active = one.attribute("index"), one.attribute("active")
        if one.name != (SWID, "Resource") or one.attribute("type") != "Measurement" or one.children:
            raise _wrong("measurements alone", one.written)
        if not _INDEX.fullmatch(index) or index in every or active not in _STATED:
            raise _wrong("each index once, active or not", f"{index}, {active}")
        every.add(index)
        if _STATED[active]:
            counting[int(index)] = _alternatives(one)
    if not counting:
        raise _wrong("a measurement that counts", len(every))
    return MappingProxyType(counting)


def _alternatives(resource: Element) -> tuple[bytes, ...]:
    digests = [value for (namespace, _), (_, value) in sorted(resource.attributes.items()) if namespace == SHA384]
    names = {(SHA384, f"Hash{number}") for number in range(len(digests))}
    if resource.attribute("alternatives") != str(len(digests)) or not names <= resource.attributes.keys():
        raise _wrong("as many digests as alternatives", resource.attribute("alternatives"))
    if not digests or not all(map(_DIGEST.fullmatch, digests)) or resource.attribute("size") != "48":
        raise _wrong("digests of 48 bytes", digests)
    return tuple(map(bytes.fromhex, digests))


def _wrong(expected: str, seen: object) -> FormatError:
    return FormatError("format.rim", expected=expected, seen=seen)
