"""A request key is agreed on: a party's share goes to a query front, the front's comes back (side: library).

What the two make of their shares stands in common/crypto/request_keys. The offer is the body of a request that the
party signs with its identity's key, which binds the share to it; the answer is signed by nobody.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.identifiers import RequestKeyId
from common.messages.base import Count, Message, Seconds

REQUEST_KEYS_PATH: Final = "/v1/request-keys"

Share = Annotated[bytes, Field(min_length=32, max_length=32)]
"""A public X25519 value (RFC 7748)."""


class OfferRequestKey(Message):
    """The party's share, made for this offer alone."""

    type: Literal["offer-request-key"] = "offer-request-key"
    version: Literal[1] = 1
    share: Share


class RequestKeyAgreed(Message):
    """The front's share, and what it calls the key, which ends after so many `seconds` or `requests`."""

    type: Literal["request-key-agreed"] = "request-key-agreed"
    version: Literal[1] = 1
    name: RequestKeyId
    share: Share
    seconds: Seconds
    requests: Count
