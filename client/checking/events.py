"""What a check tells (side: owner): the provider's own text, about synthetic rows, on the provider's machine."""

from typing import Literal

from client.events import Event
from common.messages.base import Count
from common.messages.objects import StepCost

Step = Literal["packs", "designs", "steers", "imports", "trains", "repeats", "answers"]


class TemplateWritten(Event):
    """A provider's directory that packs and trains as it is."""

    type: Literal["template-written"] = "template-written"
    directory: str
    name: str
    kind: Literal["native", "wasm"]
    files: tuple[str, ...]


class StepChecked(Event):
    """One thing that must hold; `code` is what a job would end with where it does not."""

    type: Literal["step-checked"] = "step-checked"
    step: Step
    passed: bool
    text: str
    code: str | None = None
    mend: str | None = None


class CodeRaised(Event):
    """What provider code raised, with its own frames. In a job nobody sees this."""

    type: Literal["code-raised"] = "code-raised"
    step: Step
    error: str
    text: str
    instead: str | None = None


class CallRefused(Event):
    """What the sandbox refused. `call` is a system call, or `open` for a file that is not there or can't be written.

    `at` null: made by a library, not by provider code. A refusal alone ends nothing: the call fails with EPERM.
    """

    type: Literal["call-refused"] = "call-refused"
    step: Step
    call: str
    count: Count
    at: str | None
    path: str | None = None
    instead: str


class CodePrinted(Event):
    """What provider code printed. In a job it goes nowhere."""

    type: Literal["code-printed"] = "code-printed"
    step: Step
    text: str


class CodeExported(Event):
    """Whether the code exports to a graph, by which trusted code serves its models; else `text` says what hinders."""

    type: Literal["code-exported"] = "code-exported"
    exports: bool
    text: str


class CheckProfiled(Event):
    """What the code took. `peak_bytes` is resident memory, libraries included; `limit_bytes` bounds what it writes.

    Milliseconds are medians: of a local step of `batch` rows, and of a query of `query_rows`, its new process included.
    """

    type: Literal["check-profiled"] = "check-profiled"
    peak_bytes: Count
    limit_bytes: Count
    batch: Count
    step_milliseconds: float
    query_rows: Count
    query_milliseconds: float | None


class StepMeasured(Event):
    """What a step of `rows` rows took here at least, and what the publication will say of it."""

    type: Literal["step-measured"] = "step-measured"
    rows: Count
    step_milliseconds: float
    reference_microseconds: Count
    published: StepCost


class CheckFinished(Event):
    """All that could be checked was; `refused` counts calls that the sandbox refused to provider code."""

    type: Literal["check-finished"] = "check-finished"
    passed: bool
    refused: Count
