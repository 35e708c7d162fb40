"""Reference values: what is signed, what is read of it, and XML that is refused before anything is made of it."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FormatError, Refusal
from common.nvidia.canonical_xml import canonicalize, parse_xml
from common.nvidia.rim import verify_rim
from tests.fakes.gpu_forge import (
    AT,
    DRIVER,
    MEASURED,
    VBIOS,
    certify,
    document,
    forge,
    resource,
    rim_text,
    sign,
    signed_info,
)
from tests.parsers.spoilt import spoilt
from tests.vectors.nvidia_evidence import DRIVER_RIM, rim

ONE = bytes(48)
GOOD = forge().rim()


def refused(raw: bytes) -> str:
    with pytest.raises(Refusal) as refusal:
        verify_rim(raw, forge().roots, AT)
    return refusal.value.code


def test_what_good_values_say() -> None:
    values = verify_rim(GOOD, forge().roots, AT)
    assert (values.chip, values.version, values.of_switch, values.of_vbios) == ("GH100", DRIVER, False, False)
    assert values.golden == {index: (value,) for index, value in MEASURED.items() if index % 2 == 0}
    assert verify_rim(forge().rim(VBIOS), forge().roots, AT).of_vbios


def test_alternatives_and_what_does_not_count() -> None:
    each = resource(3, [ONE, MEASURED[3]]) + resource(4, [ONE], active="False")
    values = verify_rim(forge().signed(rim_text(DRIVER, {}, resources=each)), forge().roots, AT)
    assert values.golden == {3: (ONE, MEASURED[3])}


@pytest.mark.parametrize(
    "resources",
    [
        resource(3, [ONE], active="False"),
        resource(3, [ONE], active="true"),
        resource(3, [ONE]) * 2,
        resource(3, [ONE], active="False") + resource(3, [ONE]),
        resource(3, [ONE], alternatives=2),
        resource(3, [ONE, ONE], alternatives=1),
        resource(3, []),
        resource(3, [ONE[:-1]]),
        resource(3, [ONE]).replace('index="3"', 'index="03"'),
        resource(3, [ONE]).replace('index="3"', 'index="-3"'),
        resource(3, [ONE]).replace('type="Measurement"', 'type="Other"'),
        resource(3, [ONE]).replace("Hash0", "Hash1"),
        resource(3, [ONE]).replace('size="48"', 'size="32"'),
        resource(3, [ONE]).replace("ns0:Resource", "ns0:Directory"),
        resource(3, [ONE]).replace("></ns0", "><ns0:Resource></ns0:Resource></ns0"),
        resource(3, [ONE]) + "text",
    ],
)
def test_values_that_are_signed_but_say_nothing_clear(resources: str) -> None:
    assert refused(forge().signed(rim_text(DRIVER, {}, resources=resources))) == "format.rim"


def test_of_whom_they_speak_is_clear() -> None:
    for text in (
        rim_text(DRIVER, {3: [ONE]}, edition="CPU"),
        rim_text(DRIVER, {3: [ONE]}, manufacturer="42"),
        rim_text("580", {3: [ONE]}),
        rim_text(DRIVER, {3: [ONE]}).replace("ns0:Meta", "ns0:Link"),
    ):
        assert refused(forge().signed(text)) == "format.rim"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(MEASURED[0].hex().encode(), MEASURED[1].hex().encode()),
        lambda raw: raw.replace(DRIVER.encode(), b"580.159.04"),
        lambda raw: raw.replace(b'product="GH100"', b'product="GB100"'),
        lambda raw: raw.replace(b"</ns0:Payload>", b" </ns0:Payload>"),
        lambda raw: raw.replace(b'xmlns:SHA384="', b'xmlns:SHA385="'),
    ],
)
def test_any_change_breaks_the_signature(change: Callable[[bytes], bytes]) -> None:
    assert change(GOOD) != GOOD
    assert refused(change(GOOD)) == "authenticity.rim"


def test_a_digest_that_is_right_and_signed_by_another_key() -> None:
    other = certify("RIM L4 Signer", forge().rim_l3, ca=False)
    value = sign(other.key, b"anything")
    text = rim_text(DRIVER, {3: [ONE]})
    info = forge().signed(text).decode().split("<ds:SignedInfo>")[1].split("</ds:SignedInfo>")[0]
    assert refused(document(text, info, value, forge().rim_chain)) == "authenticity.rim"


def test_a_signature_over_something_else() -> None:
    """SignedInfo that names a part, another algorithm or another transform is none, though its signature is good."""
    text = rim_text(DRIVER, {3: [ONE]})
    good = forge().signed(text).decode().split("<ds:SignedInfo>")[1].split("</ds:SignedInfo>")[0]
    for old, new in (
        ('URI=""', 'URI="#part"'),
        ("enveloped-signature", "base64"),
        ("ecdsa-sha384", "ecdsa-sha1"),
        ("#sha384", "#sha1"),
        ("xml-c14n11", "xml-exc-c14n"),
        ("</ds:Reference>", '</ds:Reference><ds:Reference URI="#x"></ds:Reference>'),
        ("<ds:Transforms>", '<ds:Transforms><ds:Transform Algorithm="xslt"></ds:Transform>'),
    ):
        assert old in good
        assert refused(forge().signed(text, info=good.replace(old, new))) == "format.rim"


def test_a_second_signature_and_one_that_is_not_last() -> None:
    body, signature = GOOD.split(b"<ds:Signature ")
    signature = b"<ds:Signature " + signature.removesuffix(b"</SoftwareIdentity>")
    assert refused(body + signature * 2 + b"</SoftwareIdentity>") == "format.rim"
    assert refused(body + signature + b"<ns0:Link></ns0:Link></SoftwareIdentity>") == "format.rim"
    assert refused(body + b"</SoftwareIdentity>") == "format.rim"


def test_a_document_in_a_document_is_not_read() -> None:
    """Signature wrapping: the signed tag is moved into another one, which would be read."""
    inner = GOOD.decode()
    outer = rim_text("581.0.0", {3: [ONE]}) + inner + "</SoftwareIdentity>"
    assert refused(outer.encode()) == "format.rim"


def test_chains_of_reference_values() -> None:
    text = rim_text(DRIVER, {3: [ONE]})
    now = datetime.fromtimestamp(AT, UTC)
    chain = forge().rim_chain
    expired = certify("RIM L4 Signer", forge().rim_l3, ca=False, end=now - timedelta(seconds=1))
    authority = certify("RIM L4 Signer", forge().rim_l3)
    below = certify("RIM L5 Signer", chain[0], ca=False)
    foreign_root = certify("A CoRIM signing Root CA", None)
    foreign = tuple(
        reversed(
            [foreign_root, ca := certify("CA", foreign_root), l3 := certify("L3", ca), certify("Signer", l3, ca=False)]
        )
    )
    device = forge().gpu().chain
    for made, code in (
        ((expired, *chain[1:]), "freshness.rim"),
        ((authority, *chain[1:]), "format.rim"),
        ((below, *chain), "format.rim"),
        ((below, chain[0], *chain[2:]), "format.rim"),
        ((chain[0], *chain[2:]), "format.rim"),
        (foreign, "appraisal.gpu_root"),
        ((device[0], *device[1:3], device[4]), "authenticity.rim"),
    ):
        assert refused(forge().signed(text, made)) == code


HEAD = '<a xmlns="urn:a" xmlns:b="urn:b">'


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ('<a  z="1"\n b="2"/>', '<a b="2" z="1"></a>'),
        ('<?xml version="1.0" encoding="UTF-8"?>\n<a/>\n', "<a></a>"),
        ("<a>&#x41;&lt;&amp;&gt;&quot;\r\n&#xD;</a>", '<a>A&lt;&amp;&gt;"\n&#xD;</a>'),
        ("<a b='&lt;&amp;\"&#x9;&#xA;&#xD; >'/>", '<a b="&lt;&amp;&quot;&#x9;&#xA;&#xD; >"></a>'),
        (f'{HEAD}<b:c xmlns:b="urn:b" xmlns:a="urn:x"/></a>', f'{HEAD}<b:c xmlns:a="urn:x"></b:c></a>'),
        (
            '<a xmlns:z="urn:1" xmlns:y="urn:2" y:k="2" z:k="1" k="0"/>',
            '<a xmlns:y="urn:2" xmlns:z="urn:1" k="0" z:k="1" y:k="2"></a>',
        ),
        ('<a xmlns:b="urn:1"><c xmlns:b="urn:2"><d xmlns:b="urn:1"/></c></a>',
         '<a xmlns:b="urn:1"><c xmlns:b="urn:2"><d xmlns:b="urn:1"></d></c></a>'),
    ],
)  # fmt: skip
def test_canonical_xml(written: str, canonical: str) -> None:
    """By sections 2.3 and 3 of Canonical XML: attributes by namespace, new namespaces, escapes, ends of lines."""
    assert canonicalize(parse_xml(written.encode())).decode() == canonical
    assert canonicalize(parse_xml(canonical.encode())).decode() == canonical


def test_pythons_own_canonical_form_is_another_one() -> None:
    """Why there is one here: Canonical XML 2.0 leaves out namespaces that nobody uses, and the signature breaks."""
    raw = rim(DRIVER_RIM)
    assert ET.canonicalize(raw.decode()).encode() != canonicalize(parse_xml(raw))
    used = '<a xmlns="urn:a"><b c="&lt;d&gt;">e &amp; f</b></a>'
    assert ET.canonicalize(used).encode() == canonicalize(parse_xml(used.encode()))


@pytest.mark.parametrize(
    "raw",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY b "' + b"c" * 1000 + b'"><!ENTITY d "' + b"&b;" * 1000 + b'">]><a>&d;</a>',
        b"<a>&b;</a>",
        b"<a><!-- b --></a>",
        b"<!-- b --><a/>",
        b"<a><?b?></a>",
        b"<?b?><a/>",
        b"<a><![CDATA[b]]></a>",
        b'<a xml:id="b"/>',
        b'<a xml:base="b"/>',
        b'<a xmlns:xml="http://www.w3.org/XML/1998/namespace"/>',
        b'<a xmlns="urn:a"><b xmlns=""/></a>',
        b'<a xmlns="urn:a" xmlns:="urn:b"/>',
        b"<b:a/>",
        b'<a b:c="1"/>',
        b'<a xmlns:b="u" xmlns:c="u" b:d="1" c:d="2"/>',
        b'<a b="1" b="2"/>',
        b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>',
        b"\xff\xfe<\0a\0/\0>\0",
        b"<\0a\0/\0>\0",
        b"\xef\xbb\xbf<a/>",
        b"<a>\xff</a>",
        b"<a><b></a></b>",
        b"<a/><a/>",
        b"<a:b:c xmlns:a='u'/>",
        b"",
        b" ",
        b"<a>" * 30 + b"</a>" * 30,
        b"<a" + b"".join(b' xmlns:b%d="u"' % number for number in range(17)) + b"/>",
        b"<a>" + b"<b/>" * 5000 + b"</a>",
        b"<a>" + b" " * (1 << 18) + b"</a>",
    ],
)
def test_xml_that_is_not_plain(raw: bytes) -> None:
    with pytest.raises(FormatError, match="format.rim"):
        parse_xml(raw)


def test_base64_has_one_spelling() -> None:
    certificate = base64.b64encode(forge().rim_root.der)
    for changed in (certificate + b"\n\n ", certificate + b"====", b"*" + certificate):
        assert refused(GOOD.replace(certificate, changed)) == "format.rim"
    assert verify_rim(GOOD.replace(certificate, certificate[:64] + b"\n" + certificate[64:]), forge().roots, AT)


def test_xml_canonical_or_not_is_signed_alike() -> None:
    """Canonical XML 1.0 is not what is named, so it is refused, though for these documents it is the same."""
    digest = GOOD.decode().split("DigestValue>")[1].split("</ds")[0]
    info = signed_info(digest, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315")
    usual = {index: [value] for index, value in MEASURED.items() if index % 2 == 0}
    assert refused(forge().signed(rim_text(DRIVER, usual), info=info)) == "format.rim"


@given(st.one_of(st.binary(max_size=200), spoilt((GOOD,))))
def test_only_format_errors_of_any_bytes(raw: bytes) -> None:
    try:
        again = canonicalize(parse_xml(raw))
    except FormatError:
        return
    assert canonicalize(parse_xml(again)) == again


@given(spoilt((GOOD,)))
def test_only_refusals_of_spoilt_documents(raw: bytes) -> None:
    try:
        values = verify_rim(raw, forge().roots, AT)
    except Refusal:
        return
    assert values.golden == verify_rim(GOOD, forge().roots, AT).golden
