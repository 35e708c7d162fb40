"""What a measured host shows, and what it may run (side: library)."""

from common.messages.base import Message
from common.messages.host_evidence import HostEvidence
from common.messages.host_profile import BOOT_REGISTER_NAMES, HostProfile, PathPattern, ProfileName
from tests.vectors.sample_broker import NONCE32
from tests.vectors.sample_documents import TIME, A, B, C


def host_messages() -> list[Message]:
    """Both."""
    return [
        HostProfile(
            name=ProfileName("gpu-host"), number=3, files=A, exclusions=(PathPattern("/var/log/*.log"),),
            violations="any", signing_keys=(B,),
            boot_registers=dict.fromkeys(BOOT_REGISTER_NAMES, (C,)), boot_log="none", created=TIME,
        ),
        HostEvidence(
            endorsement_key=b"area", endorsement_certificates=(b"certificate", b"root"), attestation_key=b"area",
            activation=NONCE32, attested=b"quote", signature=b"signature", registers=(A, B), boot_log=b"log",
            measurement_list=b"list", signing_keys=(b"key",),
        ),
    ]  # fmt: skip
