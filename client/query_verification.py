"""Is this the query enclave that the grant means? (side: owner: the user's machine)

A genuine query enclave with the wrong model is still the wrong answer (ARCHITECTURE, decision 17), so quote, placement
and manifest are checked together, before anything is sealed to it. In this order, each raises and none can be skipped:

  (1) the release is signed by enough pinned release keys, and is the one that the grant names;
  (2) the quote is authentic under an allowed root, at the user's own time;
  (3) its trust level is not below the user's floor;
  (4) its measurement is the release's for the role `query`, and its machine one that the user accepts: not revoked by
      the inventory that he knows, and within the release's TCB terms and his own;
  (5) the quote's report_data is the digest of the binding, whose role is `query` and whose subject is the manifest;
  (6) the placement is signed by the broker key that the grant names;
  (7) it names this launch's signing key and report_data;
  (8) it names model, manifest and release as the grant does, at the quote's trust level, and its time is not over;
  (9) the manifest has the digest that the grant names.

What the caller must still do: know that the grant itself comes from the owner; hold the quote's collateral against the
newest that he has seen (`common/dcap/collateral_memory`). What is *not* checked: that the grant
has budget left and is not revoked (the enclave tells), and `query_bytes`, which the profile in the session replaces.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from common.dcap import PlatformRules, appraise, require_report_data, require_trust_level, verify_quote
from common.dcap.completion import complete_evidence
from common.enclave.trust_settings import TrustSettings, require_release
from common.errors import AppraisalError, FreshnessError
from common.identifiers import Digest, ModelId, PartyKey
from common.messages.evidence import TrustLevel
from common.messages.objects import ModelManifest
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.signed import Signed, open_signed


@dataclass(frozen=True)
class QueryPins:
    """What a user holds fixed: release, whose keys and roots to believe, how weak a platform may be, which machines."""

    release: Signed
    trust: TrustSettings
    floor: TrustLevel
    rules: PlatformRules


class Named(Protocol):
    """What a query enclave must serve, and under whom: a grant says it, and whoever is shown a receipt."""

    @property
    def model_id(self) -> ModelId | None:
        """The model."""
        ...

    @property
    def manifest(self) -> Digest | None:
        """Digest of its signed manifest."""
        ...

    @property
    def broker(self) -> PartyKey:
        """Whose placements count."""
        ...

    @property
    def release(self) -> Digest:
        """Digest of the release that the enclave's code is of."""
        ...


@dataclass(frozen=True)
class NamedModel:
    """A model that a name stands for, under the broker and release of the name's grant."""

    model_id: ModelId
    manifest: Digest
    broker: PartyKey
    release: Digest


@dataclass(frozen=True)
class VerifiedEnclave:
    """A query enclave that passed all checks. `report_data` has 64 bytes, `wrapping_public` is its launch key.

    `proof` is what was verified, `broker` whose placement it is.
    """

    proof: QueryEnclaveProof
    wrapping_public: bytes
    report_data: bytes
    measurement: str
    trust_level: TrustLevel
    broker: PartyKey
    placement: Placement
    placement_digest: Digest
    manifest: ModelManifest
    manifest_digest: Digest


def verify_query_enclave(proof: QueryEnclaveProof, named: Named, pins: QueryPins, now: int) -> VerifiedEnclave:
    """Make all nine checks at time `now`, against what the grant, or whoever asks, has `named`.

    Raises `AppraisalError` (1, 3, 4, 5, 7, 8, 9), `AuthenticityError` (2, 6), `FreshnessError` (2, 8) or `FormatError`.
    A grant for a name names no model: whoever asks by it names the one that the name stands for (client/serving).
    """
    if named.model_id is None or named.manifest is None:
        raise RuntimeError("a query enclave is verified against one model")
    release = require_release(pins.release, pins.trust)  # (1)
    _require(pins.release.digest, named.release, "appraisal.release")  # (1)
    evidence, terms = complete_evidence(proof.evidence), pins.rules.terms
    claims = verify_quote(evidence, pins.trust.allowed_roots, now, terms)  # (2)
    require_trust_level(claims.trust_level, pins.floor)  # (3)
    appraise(claims, release.reference("query", claims.trust_level), pins.rules, now)  # (4)
    report_data = proof.binding.report_data()
    require_report_data(claims, report_data)  # (5)
    _require((proof.binding.role, proof.binding.subject), ("query", named.manifest), "appraisal.placement")  # (5)
    placement = open_signed(proof.placement, Placement, [named.broker])  # (6)
    _require(
        (placement.launch, placement.report_data), (proof.binding.signing_public, report_data), "appraisal.binding"
    )  # (7)
    _require_placement(placement, named, claims.trust_level, now)  # (8)
    return VerifiedEnclave(
        proof,
        proof.binding.wrapping_public,
        report_data,
        claims.measurement,
        claims.trust_level,
        named.broker,
        placement,
        proof.placement.digest,
        _manifest(proof.manifest, named),
        named.manifest,
    )


def _require_placement(placement: Placement, named: Named, level: TrustLevel, now: int) -> None:
    seen = (placement.model_id, placement.manifest, placement.release, placement.trust_level)
    _require(seen, (named.model_id, named.manifest, named.release, str(level)), "appraisal.placement")
    if now > placement.not_after:
        raise FreshnessError("freshness.placement", expected=f"valid at {now}", seen=f"until {placement.not_after}")


def _manifest(signed: Signed, named: Named) -> ModelManifest:
    _require((signed.payload_type, signed.digest), ("model-manifest", named.manifest), "appraisal.placement")  # (9)
    manifest = ModelManifest.decode(signed.payload)
    _require(manifest.model_id, named.model_id, "appraisal.placement")  # (9)
    return manifest


def _require(seen: object, expected: object, code: str) -> None:
    if seen != expected:
        raise AppraisalError(code, expected=_text(expected), seen=_text(seen))


def _text(value: object) -> str:
    parts: Collection[object] = value if isinstance(value, tuple) else (value,)
    return " ".join(part.hex() if isinstance(part, bytes) else str(part) for part in parts)
