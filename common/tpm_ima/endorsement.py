"""Whose TPM is it, and is this key in it? (side: verifier)

A TPM's maker puts an endorsement key into it and issues a certificate for that. The key signs nothing, so that a quote
is this TPM's is shown in two steps: `challenge` hides a secret in a credential that only the TPM of the endorsement key
opens, and only if it holds the attestation key of that Name; whoever shows the secret later has shown both. Sources:
TCG's EK Credential Profile for TPM 2.0 (certificate, templates L-1 and L-2); TPM 2.0 Library, Part 1, "Credential
Protection".

What is not checked: revocation of these certificates. Most makers publish no list.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    DirectoryName,
    ExtendedKeyUsage,
    Extension,
    ExtensionNotFound,
    ExtensionType,
    KeyUsage,
    ObjectIdentifier,
    SubjectAlternativeName,
    load_der_x509_certificate,
)
from cryptography.x509.oid import ExtensionOID

from common.certificate_links import UNREADABLE, is_link, root_key_sha256
from common.crypto.tpm_keys import Activations, make_credential, make_rsa_credential
from common.crypto.tpm_signatures import EccPublic, RsaPublic
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import Digest
from common.messages.tpm_counter import TpmChallenge
from common.tpm.layouts import EndorsementKey, RsaEndorsementKey
from common.tpm_ima.key_areas import HostKey, parse_host_key

AnyEndorsementKey = EndorsementKey | RsaEndorsementKey

EK_CERTIFICATE: Final = ObjectIdentifier("2.23.133.8.1")
_TPM_MODEL: Final = ObjectIdentifier("2.23.133.2.2")
"""tcg-kp-EKCertificate, tcg-at-tpmModel (EK Credential Profile)."""

_EMULATOR: Final = "swtpm"
_READ_HERE: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
"""What may be critical, because it is looked at."""


def challenge(endorsement_area: bytes, attestation_area: bytes, activations: Activations) -> TpmChallenge:
    """A credential for the TPM of this endorsement key, about this attestation key. Raises `FormatError`.

    It says nothing about the two: `require_endorsed` and the activation in the evidence do.
    """
    endorsement, key = parse_endorsement_key(endorsement_area), parse_host_key(attestation_area)
    secret = activations.secret(endorsement.name, key.name)
    if isinstance(endorsement, RsaEndorsementKey):
        credential, seed = make_rsa_credential(endorsement.modulus, key.name, secret)
    else:
        credential, seed = make_credential(endorsement.x, endorsement.y, key.name, secret)
    return TpmChallenge(credential=credential, secret=seed)


def require_activated(
    activation: bytes, endorsement: AnyEndorsementKey, key: HostKey, activations: Activations
) -> None:
    """Raise `FreshnessError` (freshness.challenge) unless this is the secret of these two keys' credential."""
    activations.require(activation, endorsement.name, key.name)


def parse_endorsement_key(area: bytes) -> AnyEndorsementKey:
    """The key in a TPMT_PUBLIC of template L-1 or L-2. Raises `FormatError` (format.message) for any other."""
    return RsaEndorsementKey.parse(area) if area[:2] == b"\0\1" else EndorsementKey.parse(area)


def require_endorsed(
    key: AnyEndorsementKey, certificates: Sequence[bytes], authorities: Collection[Digest], at: int
) -> bool:
    """Whether the TPM is an emulator by its certificate, which vouches for `key`. In this order, each raises:

    (1) certificates are readable, each issued by the next, the last by itself (`AuthenticityError`, authenticity.host);
    (2) the last one's key is one of `authorities` (`AppraisalError`, appraisal.root);
    (3) all are valid at `at` (likewise);
    (4) every issuer may issue; nothing critical is unknown to us (authenticity.host);
    (5) the first is for an endorsement key, and for this one (authenticity.host).
    """
    chain = [_read(one) for one in certificates]
    issuers = (*certificates[1:], certificates[-1])
    if not all(is_link(one, issuer) for one, issuer in zip(certificates, issuers, strict=True)):  # (1)
        raise AuthenticityError("authenticity.host", expected="EK certificates that each the next one issued")
    root = root_key_sha256(chain[-1])
    if root not in authorities:  # (2)
        raise AppraisalError("appraisal.root", expected=sorted(authorities), seen=f"EK authority {root}")
    if not all(one.not_valid_before_utc.timestamp() <= at <= one.not_valid_after_utc.timestamp() for one in chain):
        raise AppraisalError("appraisal.root", expected=f"EK certificates that are valid at {at}")  # (3)
    try:
        _require_roles(chain)  # (4)
        return _require_certified(chain[0], key)  # (5)
    except (*UNREADABLE, ExtensionNotFound) as cause:
        raise AuthenticityError("authenticity.host", expected="EK certificates with all that they need") from cause


def _read(der: bytes) -> Certificate:
    try:
        certificate = load_der_x509_certificate(der)
        certificate.public_key()
    except UNREADABLE as cause:
        raise AuthenticityError("authenticity.host", expected="EK certificates that can be read") from cause
    return certificate


def _require_roles(chain: list[Certificate]) -> None:
    for one in chain:
        unknown = [extension.oid.dotted_string for extension in one.extensions if _is_unknown(extension)]
        if unknown:
            raise AuthenticityError("authenticity.host", expected="no critical extension unknown", seen=unknown)
    for below, issuer in enumerate(chain[1:]):
        basic = issuer.extensions.get_extension_for_class(BasicConstraints).value
        usage = issuer.extensions.get_extension_for_class(KeyUsage).value
        if not basic.ca or not usage.key_cert_sign or (basic.path_length is not None and basic.path_length < below):
            raise AuthenticityError("authenticity.host", expected="issuers that may issue")


def _is_unknown(extension: Extension[ExtensionType]) -> bool:
    return extension.critical and extension.oid not in _READ_HERE


def _require_certified(certificate: Certificate, key: AnyEndorsementKey) -> bool:
    extensions = certificate.extensions
    basic = [one.value.ca for one in extensions if isinstance(one.value, BasicConstraints)]
    if any(basic) or EK_CERTIFICATE not in extensions.get_extension_for_class(ExtendedKeyUsage).value:
        raise AuthenticityError("authenticity.host", expected="a certificate for an endorsement key")
    public = RsaPublic(key.modulus) if isinstance(key, RsaEndorsementKey) else EccPublic("P-256", key.x, key.y)
    if certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public.spki:
        raise AuthenticityError("authenticity.host", expected="a certificate for the endorsement key that is shown")
    names = extensions.get_extension_for_class(SubjectAlternativeName).value.get_values_for_type(DirectoryName)
    models = itertools.chain.from_iterable(name.get_attributes_for_oid(_TPM_MODEL) for name in names)
    return any(str(model.value).casefold() == _EMULATOR for model in models)
