"""What is told of the system calls that provider code was refused in a job: a class and a level each (side: library).

Provider code may falsify it, so it is as small as is useful, and of one size: one of `CHOICES` numbers. Whatever bytes
a sandbox holds are one of them (`of_counts`).
"""

from dataclasses import dataclass
from typing import Final, Literal, Self

from common.errors import FormatError

CallClass = Literal["network", "files", "processes", "namespaces", "tracing", "memory", "other"]
CLASSES: Final[tuple[CallClass, ...]] = (
    "network", "files", "processes", "namespaces", "tracing", "memory", "other",
)  # fmt: skip
"""common/sandbox/call_classes says which call is of which class."""

Level = Literal["none", "some", "many"]
LEVELS: Final[tuple[Level, ...]] = ("none", "some", "many")
"""No call; fewer than `MANY`; as many or more."""

MANY: Final = 10

CHOICES: Final = len(LEVELS) ** len(CLASSES)
"""3^7 = 2,187: all that it can say."""


@dataclass(frozen=True)
class RefusedCalls:
    """The level of each class, in the order of `CLASSES`, as places in `LEVELS`."""

    levels: tuple[int, ...] = (0,) * len(CLASSES)

    @classmethod
    def of_counts(cls, unverified: bytes) -> Self:
        """From counts that a sandbox says, a byte for each class; any bytes make valid levels, missing ones are 0."""
        counts = unverified[: len(CLASSES)].ljust(len(CLASSES), b"\0")
        return cls(tuple((count > 0) + (count >= MANY) for count in counts))

    @classmethod
    def of_number(cls, number: int) -> Self:
        """The reverse of `number`. Raises `FormatError` (format.frame) for one that is none."""
        if not 0 <= number < CHOICES:
            raise FormatError("format.frame", expected=f"refused calls as a number below {CHOICES}", seen=number)
        return cls(tuple(number // len(LEVELS) ** place % len(LEVELS) for place in range(len(CLASSES))))

    @property
    def number(self) -> int:
        """Digits to the base of the levels, that of the first class lowest."""
        return sum(level * len(LEVELS) ** place for place, level in enumerate(self.levels))

    @property
    def words(self) -> dict[CallClass, Level]:
        """The level of each class by name."""
        return {name: LEVELS[level] for name, level in zip(CLASSES, self.levels, strict=True)}

    def joined(self, other: Self) -> Self:
        """The higher level of each class."""
        return type(self)(tuple(map(max, self.levels, other.levels)))


NONE_REFUSED: Final = RefusedCalls()
