"""What stands for a relay whose answers are there at once (side: library)."""

from common.door import Answer


class AnswersAtOnce:
    """The enclave's end of a door that is no pipe; subclasses define `call`."""

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """The answer."""
        raise NotImplementedError

    def begin(self, name: str, body: bytes) -> Answer:
        """What was asked is answered when its answer is waited for."""
        return lambda seconds: self.call(name, body, seconds=seconds)
