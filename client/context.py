"""A party's identity directory: its keys, what it has pinned, and what it has made so far (side: owner).

    identity.json          the key file (common/crypto/key_file)
    card.json              the identity's signed card, which names its recovery key
    trust.json             PinnedTrust: release document, trust settings, broker genesis, addresses of the services
    head.json              newest log head of that broker that this party has seen
    collateral.json        how new the collateral of that broker's quotes has been
    inventory.json         newest signed inventory of machines that this party has seen
    tcb.json               TCB terms of its own over machines of brokers and query enclaves, if it has pinned any
    audit.json             newest one whose whole log this party has verified
    keys/ROOT.key          the key of one sealed object, wrapped to this party's own report key
    costs/ROOT.json        what a step of a bundle took when it was measured
    bundles/ID.json        name and version of each bundle that was published from here
    documents/KIND/NAME    signed documents that this party made or was given: orders, grants, publications; a
                           data set's newest policy, and all `versions` by digest; cards of recovery
                           `holders`; `statements` by which this identity replaced others (by their key); the
                           newest record of each served name (`servings`)
    proofs/ID.json         that the broker has ended something (client/ending_proof)

Directories have mode 0700, files 0600. Written by replacement, so a crash leaves the old file or the new one.
"""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from client.durable_file import replace_durably
from common.bundle import BundleName, BundleVersion
from common.crypto import KeyRing, SecretKey, transcript
from common.crypto.digests import sha256
from common.crypto.key_file import Identity
from common.crypto.labels import PINNED_TRUST, WRAP_OWN_KEY
from common.crypto.wrapping import wrap_ring
from common.dcap.collateral_memory import CollateralMemory, marks_of
from common.enclave.trust_settings import TrustSettings, require_release
from common.errors import NotFoundError
from common.identifiers import BundleId, Digest, PartyKey
from common.messages.base import Message
from common.messages.broker_identity import Genesis
from common.messages.collateral import CollateralMark, SeenCollateral
from common.messages.evidence import Collateral
from common.messages.log_heads import LogHead
from common.messages.objects import StepCost
from common.messages.release import Release
from common.messages.signed import Signed
from common.messages.tcb_terms import TcbTerms

OBJECT_KEY: Final = "object"
"""Name of the one key in a stored ring."""

DocumentKind = Literal[
    "policies",
    "versions",
    "publications",
    "manifests",
    "orders",
    "grants",
    "models",
    "statements",
    "holders",
    "revocations",
    "servings",
]


class Endpoints(Message):
    """Base addresses of the services, as the operator publishes them. Nothing is trusted because of them."""

    type: Literal["endpoints"] = "endpoints"
    version: Literal[1] = 1
    attestation: str
    ingest: str
    query: str


class BundleLabel(Message):
    """What a provider called a bundle that it published: sealed with the code, so nobody else can tell."""

    type: Literal["bundle-label"] = "bundle-label"
    version: Literal[1] = 1
    bundle_id: BundleId
    root: Digest
    name: BundleName
    bundle_version: BundleVersion


class PinnedTrust(Message):
    """All that this party holds the services against; `owner pin` shows its fingerprint, `--expect` takes it."""

    type: Literal["pinned-trust"] = "pinned-trust"
    version: Literal[1] = 1
    endpoints: Endpoints
    trust_settings: TrustSettings
    release: Signed
    broker: Genesis

    @property
    def fingerprint(self) -> Digest:
        """Over trust settings, release and broker; addresses may change without it."""
        return sha256(
            transcript(PINNED_TRUST, self.trust_settings.encode(), self.release.digest.raw(), self.broker.digest.raw())
        )

    def open_release(self) -> Release:
        """The release document, its signatures checked against the pinned release keys."""
        return require_release(self.release, self.trust_settings)


class Party:
    """One party on its own machine. Raises `NotFoundError` (not_found.identity, not_found.pin) for what is missing."""

    def __init__(self, directory: Path, endpoints: Endpoints | None = None) -> None:
        """`endpoints`: where the services are now, if that is known better than when they were pinned."""
        self.directory, self._endpoints = directory, endpoints

    @classmethod
    def create(cls, directory: Path, name: str, *, unsafe_simulation: bool) -> "Party":
        """Make the identity directory with a fresh key file. An existing one is never overwritten."""
        Identity.generate(name, unsafe_simulation=unsafe_simulation).write(directory / "identity.json")
        return cls(directory)

    @property
    def made(self) -> bool:
        """Whether there is a key file."""
        return (self.directory / "identity.json").exists()

    @cached_property
    def identity(self) -> Identity:
        """The key file."""
        path = self.directory / "identity.json"
        if not path.exists():
            raise NotFoundError("not_found.identity", expected=path)
        return Identity.read(path)

    @property
    def card(self) -> Signed | None:
        """The identity's card, if one was made (`client.identity`)."""
        raw = self._read("card.json")
        return None if raw is None else Signed.decode(raw)

    @property
    def own_keys(self) -> tuple[PartyKey, ...]:
        """This identity's key, and those of identities that it has replaced."""
        return (self.identity.signing_key.party, *map(PartyKey, self.documents("statements")))

    def keep_card(self, card: Signed) -> None:
        """Store the card; it is made once."""
        self._write("card.json", card.encode())

    @property
    def pinned(self) -> bool:
        """Whether something is pinned."""
        return (self.directory / "trust.json").exists()

    @property
    def trust(self) -> PinnedTrust:
        """What is pinned."""
        raw = self._read("trust.json")
        if raw is None:
            raise NotFoundError("not_found.pin" if self.made else "not_found.identity", expected=self.directory)
        return PinnedTrust.decode(raw)

    @property
    def endpoints(self) -> Endpoints:
        """Where the services are."""
        return self._endpoints or self.trust.endpoints

    def pin(self, trust: PinnedTrust) -> None:
        """Trust this from now on. A log head of another broker is forgotten with it."""
        before = self._read("trust.json")
        if before is not None and PinnedTrust.decode(before).broker.digest != trust.broker.digest:
            for name in ("head.json", "audit.json", "wrapping.key"):
                (self.directory / name).unlink(missing_ok=True)
        self._write("trust.json", trust.encode())

    @property
    def broker_key(self) -> bytes:
        """What is wrapped for the broker is wrapped to this: the key that it quoted last.

        It is another than its genesis' since it was handed over to another build (services/attestation/handover).
        """
        return self._read("wrapping.key") or self.trust.broker.wrapping_public

    def remember_broker_key(self, wrapping_public: bytes) -> None:
        """Store the key of the pinned broker as its verified quote bound it."""
        if wrapping_public != self.broker_key:
            self._write("wrapping.key", wrapping_public)

    @property
    def log_head(self) -> LogHead | None:
        """The newest head of the broker's log that this party has seen."""
        raw = self._read("head.json")
        return None if raw is None else LogHead.decode(raw)

    def remember_head(self, head: LogHead) -> None:
        """Store a head that was checked to be newer."""
        self._write("head.json", head.encode())

    @property
    def collateral_memory(self) -> CollateralMemory:
        """How new the collateral was that this party has accepted."""
        raw = self._read("collateral.json")
        return CollateralMemory() if raw is None else CollateralMemory(SeenCollateral.decode(raw).marks)

    def remember_collateral(self, verified: Collateral) -> None:
        """Store how new verified collateral is. Raises `FreshnessError` (freshness.collateral) if older than seen."""
        self.remember_marks(marks_of(verified))

    def remember_marks(self, marks: Collection[CollateralMark]) -> None:
        """Store marks of verified documents. Raises likewise."""
        memory = self.collateral_memory
        if memory.remember(marks):
            self._write("collateral.json", SeenCollateral(marks=memory.marks).encode())

    @property
    def inventory(self) -> Signed | None:
        """The newest signed inventory of machines that this party has seen (client/platforms)."""
        raw = self._read("inventory.json")
        return None if raw is None else Signed.decode(raw)

    def keep_inventory(self, inventory: Signed) -> None:
        """Store an inventory that was checked to be newer."""
        if inventory != self.inventory:
            self._write("inventory.json", inventory.encode())

    @property
    def tcb_terms(self) -> TcbTerms | None:
        """Terms of its own over machines of brokers and query enclaves."""
        raw = self._read("tcb.json")
        return None if raw is None else TcbTerms.decode(raw)

    def keep_tcb_terms(self, terms: TcbTerms) -> None:
        """Hold these from now on, instead of those before."""
        self._write("tcb.json", terms.encode())

    @property
    def audited_head(self) -> LogHead | None:
        """The newest head whose whole log this party has verified (client/audit)."""
        raw = self._read("audit.json")
        return None if raw is None else LogHead.decode(raw)

    def remember_audit(self, head: LogHead) -> None:
        """Store a head whose log was verified and extends the one before."""
        self._write("audit.json", head.encode())

    def keep_key(self, root: Digest, key: SecretKey) -> None:
        """Store the key of one sealed object."""
        ring = KeyRing({OBJECT_KEY: key})
        self._write(f"keys/{root}.key", wrap_ring(ring, self.identity.report_key.public, _own_key_info(root)))

    def object_key(self, root: Digest) -> SecretKey:
        """The key of one sealed object."""
        wrapped = self._read(f"keys/{root}.key")
        if wrapped is None:
            raise NotFoundError("not_found.key", expected=self.directory / "keys" / f"{root}.key")
        return self.identity.report_key.open_ring(wrapped, _own_key_info(root))[OBJECT_KEY]

    def key_roots(self) -> list[Digest]:
        """Which objects' keys are stored."""
        return sorted(Digest(path.stem) for path in (self.directory / "keys").glob("*.key"))

    def keep_document(self, kind: DocumentKind, name: str, document: Signed) -> None:
        """Store a signed document under a name."""
        self._write(f"documents/{kind}/{name}", document.encode())

    def document(self, kind: DocumentKind, name: str) -> Signed | None:
        """A stored document."""
        raw = self._read(f"documents/{kind}/{name}")
        return None if raw is None else Signed.decode(raw)

    def documents(self, kind: DocumentKind) -> list[str]:
        """Names of the stored documents of a kind, oldest first."""
        directory = self.directory / "documents" / kind
        return [path.name for path in sorted(directory.iterdir(), key=_written_at)] if directory.is_dir() else []

    def keep_proof(self, identifier: str, proof: Message) -> Path:
        """Store what proves that something is over; where it lies."""
        name = f"proofs/{identifier}.json"
        self._write(name, proof.encode())
        return self.directory / name

    def keep_label(self, label: BundleLabel) -> None:
        """Store what a published bundle is called."""
        self._write(f"bundles/{label.bundle_id}.json", label.encode())

    def label(self, bundle_id: BundleId) -> BundleLabel | None:
        """What a published bundle is called, if it was published from this directory."""
        raw = self._read(f"bundles/{bundle_id}.json")
        return None if raw is None else BundleLabel.decode(raw)

    def keep_step_cost(self, root: Digest, cost: StepCost) -> None:
        """Store what a step of a bundle costs: what is signed again shall say the same."""
        self._write(f"costs/{root}.json", cost.encode())

    def step_cost(self, root: Digest) -> StepCost | None:
        """What was stored, if it was measured."""
        raw = self._read(f"costs/{root}.json")
        return None if raw is None else StepCost.decode(raw)

    def document_files(self) -> list[Path]:
        """The files of all stored documents."""
        return sorted(path for path in (self.directory / "documents").glob("*/*") if not path.name.startswith("."))

    def _read(self, name: str) -> bytes | None:
        path = self.directory / name
        return path.read_bytes() if path.exists() else None

    def _write(self, name: str, content: bytes) -> None:
        replace_durably(self.directory / name, content)


def _own_key_info(root: Digest) -> bytes:
    return transcript(WRAP_OWN_KEY, root.raw())


def _written_at(path: Path) -> int:
    return path.stat().st_mtime_ns
