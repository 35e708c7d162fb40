"""A TPM's counter is made, or found, for a key broker that is yet to be made (side: host)."""

from collections.abc import Iterator

from client.events import CounterReady, Event
from client.tpm.commands import Tpm
from common.crypto.tpm_keys import public_pem
from common.errors import FormatError
from common.messages.tpm_counter import TpmCounter
from common.tpm_host.device import open_tpm


def define_counter(device: str, index: str) -> Iterator[Event]:
    """Ends with `CounterReady`. A counter that is there is only shown: a broker may depend on it.

    Raises `UnavailableError` (unavailable.tpm), `FormatError`.
    """
    tpm = Tpm(open_tpm(device), _parse(index))
    try:
        there = tpm.counter()
        if there is None:
            tpm.define_counter()
        value = tpm.counter() or 0
        key = tpm.endorsement_key
        yield CounterReady(
            counter=TpmCounter(endorsement_key=key.digest, index=_parse(index), value=value),
            endorsement_key=public_pem(key.x, key.y),
            made=there is None,
        )
    finally:
        tpm.close()


def _parse(index: str) -> int:
    try:
        return int(index, 0)
    except ValueError:
        raise FormatError("format.message", expected="an NV index such as 0x01500020", seen=index) from None
