"""Checking by hand what the other operations check on their own: quotes, sealed objects, models (side: verifier)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from client.broker import BrokerLink, trust_floor
from client.context import Party
from client.events import Event, QuoteVerified, Verified
from client.objects import leaf_path, require_intact
from client.platforms import platform_rules
from common.broker_verification import BROKER_ROLE
from common.dcap import appraise, require_trust_level, verify_quote
from common.dcap.completion import complete_evidence
from common.errors import FormatError, NotFoundError
from common.identifiers import ModelId
from common.messages.evidence import Evidence
from common.messages.jobs import ListMembers, Members
from common.messages.objects import ModelManifest
from common.messages.signed import open_signed
from common.platform_inventory import kept_inventory
from common.sealed_object import ObjectReader

_EVIDENCE: Final[TypeAdapter[Evidence]] = TypeAdapter(Evidence)


def verify_evidence(party: Party, source: Path, role: str, at: int | None = None) -> Iterator[Event]:
    """Verify a quote with its collateral (an Evidence document) as an enclave of `role` of the pinned release.

    `at`: one time for all checks, in Unix seconds (default: now). What was verified at some time gives the same answer
    at that time whenever it is asked, unless its machine was revoked since or this party's own terms are others. Not
    checked: what its report_data binds; whoever asked for the quote knows that.
    Raises what verification raises.
    """
    trust = party.trust
    try:
        evidence = _EVIDENCE.validate_json(source.read_bytes())
    except ValidationError:
        expected = "an evidence document of SGX or TDX (`cloister verify snp` reads SEV-SNP's)"
        raise FormatError("format.quote", expected=expected, seen=source.name) from None
    at = int(time.time()) if at is None else at
    rules = platform_rules(party, trust.trust_settings)
    allowing = () if role == BROKER_ROLE else rules.terms
    claims = verify_quote(complete_evidence(evidence), trust.trust_settings.allowed_roots, at, allowing)
    require_trust_level(claims.trust_level, trust_floor(party))
    appraise(claims, trust.open_release().reference(role, claims.trust_level), rules, at)
    yield QuoteVerified(role=role, measurement=claims.measurement, trust_level=claims.trust_level)
    yield Verified(
        subject=source.name,
        checks=(
            "the chain ends in a pinned root, and every certificate is in its role",
            f"collateral is signed, and current at {at}; TCB status {claims.machine.tcb_status}",
            f"measurement is the pinned release's for the role {role}",
            f"its machine is not revoked by inventory {rules.inventory.number}",
            f"report_data {claims.report_data.hex()} (what it binds is for its reader to check)",
        ),
    )


def verify_broker(party: Party, destination: Path | None = None) -> Iterator[Event]:
    """Verify the key broker's quote over a fresh nonce, as every operation does that wraps a key.

    With a `destination`, quote and collateral are kept there, as `verify_evidence` reads them, and the time at which
    they were verified is said.
    """
    broker = BrokerLink(party).verified()
    known = kept_inventory(party.inventory, party.trust.trust_settings)
    checks = [
        "fresh quote of the pinned release's broker, bound to its keys and our nonce",
        "the reply is signed by the quoted key and its log head is not older than one we have seen",
        f"neither its machine nor one that it was handed over from is revoked by inventory {known.number}",
    ]
    if destination is not None:
        evidence, at = complete_evidence(broker.description.evidence, broker.collateral), int(time.time())
        verify_quote(evidence, party.trust.trust_settings.allowed_roots, at)
        destination.write_bytes(evidence.encode())
        checks.append(f"kept in {destination.name} as verified at {at}: `--at {at}` gives the same answer later")
    yield QuoteVerified(role="broker", measurement=broker.claims.measurement, trust_level=broker.claims.trust_level)
    yield Verified(subject=f"broker {party.trust.broker.digest}", checks=tuple(checks))


def verify_object(party: Party, directory: Path) -> Iterator[Event]:
    """Verify a sealed object's directory: every byte against its root and, where this party has the key, every tag."""
    reference = require_intact(directory)
    checks = [f"{reference.chunk_count} chunks and the header give the root {reference.root}"]
    try:
        key = party.object_key(reference.root)
    except NotFoundError:
        checks.append("not opened: the key is in another identity directory")
    else:
        reader = ObjectReader(
            key,
            leaf_path(directory, 0).read_bytes(),
            reference.chunk_count,
            lambda chunk: leaf_path(directory, chunk + 1).read_bytes(),
        )
        checks.append(f"opens under this party's key: {len(reader.read_all()):,} bytes")
    yield Verified(subject=str(directory), checks=tuple(checks))


def verify_model(party: Party, model_id: ModelId) -> Iterator[Event]:
    """Verify the stored manifest of a model: who signed it, of which order it is, what made it."""
    signed = party.document("models", model_id)
    if signed is None:
        raise NotFoundError("not_found.model", expected="a model that `cloister owner watch` has seen sealed")
    unverified = ModelManifest.decode(signed.payload)
    members = BrokerLink(party).ask(ListMembers(job_id=unverified.job_id), Members)
    servers = [one.signing_public for one in members.members if one.role == "paramserver"]
    manifest = open_signed(signed, ModelManifest, servers)
    yield Verified(
        subject=model_id,
        checks=(
            "signed by the launch that the broker lists as the job's parameter server",
            f"of order {manifest.order}, job {manifest.job_id}",
            f"trained on {', '.join(manifest.datasets)} with {manifest.bundle}",
            f"by {', '.join(f'{one.role} {one.slot} ({one.mr_enclave[:16]}...)' for one in manifest.members)}",
            f"trust level {manifest.trust_level}",
        ),
    )
