"""Several machines of one maker: simulated CPUs under one root, each with a PPID and instance id (side: library).

What else an installation has lies with the first of them, the collateral too: it is the same for all.
"""

import secrets
from dataclasses import replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from common.crypto.signing import SigningKey
from common.dcap.certificates import PCK_LEAF
from common.dcap.engine import unverified_machine
from common.enclave.simulated_pki import issue_certificate
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_sgx_extension import encode_sgx_extension
from common.identifiers import MrEnclave, PlatformId
from common.messages.platform_inventory import PlatformInventory
from common.messages.signed import Signed, sign


def another_machine(first: SimulatedPlatform) -> SimulatedPlatform:
    """One more, whose PCK certificate the same CA has issued."""
    extension = encode_sgx_extension(ppid=secrets.token_bytes(16), instance_id=secrets.token_bytes(16))
    pck = issue_certificate(PCK_LEAF, datetime.now(UTC), first.pki.pck_ca, sgx_extension=extension)
    return replace(
        first,
        pki=replace(first.pki, pck=pck),
        attestation_key=generate_private_key(SECP256R1()),
        sealing_secret=secrets.token_bytes(32),
    )


def names_of(machine: SimulatedPlatform) -> tuple[PlatformId, ...]:
    """Its PPID and its platform instance id."""
    return tuple(sorted(unverified_machine(machine.evidence(MrEnclave("0" * 64), bytes(64)).quote)))


def inventory_of(
    number: int, *keys: SigningKey, known: tuple[PlatformId, ...] = (), revoked: tuple[PlatformId, ...] = ()
) -> Signed:
    """An inventory with the signatures of these keys."""
    return sign(PlatformInventory(number=number, platforms=known, revoked=revoked, created=1), *keys)
