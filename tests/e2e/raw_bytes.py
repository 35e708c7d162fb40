"""What foreign clients hand over as nested values, as the bytes that are in it (side: library)."""

from typing import Any


def flat(value: Any) -> bytes:
    """Every string and byte string of a nested value, a line each; numbers and times can hold no marker."""
    if isinstance(value, bytes):
        return value + b"\n"
    if isinstance(value, str):
        return value.encode(errors="surrogateescape") + b"\n"
    if isinstance(value, dict):
        return b"".join(flat(one) for item in value.items() for one in item)
    if isinstance(value, list | tuple | set):
        return b"".join(flat(one) for one in value)
    return b""
