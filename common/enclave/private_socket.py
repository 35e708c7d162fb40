"""The private socket between a simulated enclave and its launcher, the only way to evidence (side: library).

A unix SOCK_SEQPACKET pair made by the launcher: holding it is being the enclave that was measured. Each request is one
packet, each reply one packet; the enclave asks, the launcher answers in order.

  request  kind (1 byte), body          MEASUREMENT: empty | EVIDENCE: report_data (64) | SEALING_KEY: label
  reply    0, body                      mr_enclave (32)    | SgxDcapEvidence (JSON)     | key (32)
           1                            the request is malformed
"""

from enum import IntEnum
from typing import Final

MAX_PACKET_BYTES: Final = 128 << 10
"""Within the kernel's default send buffer (208 KiB); evidence has about 14 KB."""

MAX_LABEL_BYTES: Final = 256
GRANTED: Final = b"\0"
MALFORMED: Final = b"\1"


class Ask(IntEnum):
    """What an enclave asks its platform."""

    MEASUREMENT = 1
    EVIDENCE = 2
    SEALING_KEY = 3
