"""Events as a person reads them (side: owner). Results go to stdout, refusals to stderr."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from client import events as e
from client.checking.rendering import CheckTold, check_lines
from client.joint_rendering import JointTold, joint_lines
from client.policy_rendering import PolicyTold, policy_lines
from client.recovery_rendering import RecoveryTold, recovery_lines
from client.rendering.answers import AnswerTold, answer_lines
from client.rendering.figures import figures_table
from client.rendering.identities import IdentityTold, identity_lines
from client.rendering.jobs import JobTold, job_lines
from client.rendering.logs import LogTold, log_lines
from client.rendering.objects import ObjectTold, object_lines
from client.rendering.releases import FilesTold, InventoryTold, ReleaseTold, files_lines, inventory_lines, release_lines
from client.rendering.trust import TrustTold, trust_lines
from client.rendering.words import Line, told_words, trust_words
from client.watching.events import JobProgressed
from client.watching.rendering import WatchTold, clock_words, heard_words, int8_words, loss_words, watch_lines
from common.errors import CloisterError, Refusal

CLOCK_LINES: Final = 10


class Terminal:
    """Lines and progress bars with rich."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._ready: set[str] | None = None
        self._clock: tuple[str, int] | None = None

    def refused(self, error: CloisterError) -> None:
        """What was refused, who can mend it and how, and what was expected and seen."""
        self.close()
        console = Console(stderr=True, highlight=False)
        if not isinstance(error, Refusal):
            console.print(f"[bold red]failed[/] {error}")
            return
        console.print(f"[bold red]refused[/] [bold]{error.code}[/]", soft_wrap=True)
        console.print(f"  who can mend it: {error.mender}\n  how: {error.mend}", soft_wrap=True)
        for name, value in (("expected", error.expected), ("seen", error.seen)):
            if value is not None:
                console.print(Text(f"  {name}: {value}"), soft_wrap=True)

    def close(self) -> None:
        """End the progress bars."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._tasks = None, {}

    def _line(self, mark: str, text: str, *, style: str = "") -> None:
        self.console.print(Text.assemble((f"{mark:>10} ", "bold cyan"), (text, style)), soft_wrap=True)

    def _lines(self, lines: Iterable[Line]) -> None:
        for mark, text, style in lines:
            self._line(mark, text, style=style)

    def _advance(self, name: str, done: int, of: int, note: str = "") -> None:
        if not self.console.is_terminal:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self.console,
            )
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=of, note=note)
        self._progress.update(self._tasks[name], completed=done, total=of, note=note)
        if done >= of and all(task.finished for task in self._progress.tasks):
            self.close()

    @singledispatchmethod
    def show(self, event: e.Event) -> None:
        """One event, when it happens."""
        self._line("event", event.encode().decode())

    @show.register
    def _(self, event: e.Noted) -> None:
        self._line("warning" if event.warning else "", event.text, style="bold yellow" if event.warning else "")

    @show.register
    def _(self, event: e.Pinned) -> None:
        self._line("release", f"{event.release_name}  {event.release}")
        for key in event.release_keys:
            self._line("signed by", key)
        for root in event.roots:
            self._line("root", root)
        self._line("broker", f"{event.broker}  key {event.broker_key}")
        counters = [f"TPM {one.endorsement_key}, counter {one.index:#x}" for one in event.tpm_counters]
        named = [*event.witnesses, *counters]
        self._line("witnesses", f"{event.witness_quorum} of {len(named)}: {', '.join(named)}")
        self.console.print(trust_words(event.trust_level))
        self._line("pinned" if event.stored else "would pin", event.fingerprint, style="bold")

    @show.register
    def _(self, event: e.CounterReady) -> None:
        counter = event.counter
        self._line("counter" if event.made else "is there", f"{counter.index:#x}, at {counter.value}")
        self._line("TPM", f"endorsement key {counter.endorsement_key}", style="bold")
        self._line("settings", f'"tpm_counters": [{counter.encode().decode()}]')
        self.console.print(event.endorsement_key.rstrip())

    @show.register
    def _(self, event: e.UploadAdvanced) -> None:
        self._advance("upload", event.leaves, event.of, f"{event.bytes_sent:,} bytes, {event.resumed} were there")

    @show.register
    def _(self, event: e.AnswersAdvanced) -> None:
        if event.of > event.rows or self._tasks:  # one request needs no bar
            self._advance("answers", event.rows, event.of)

    @show.register
    def _(self, event: PolicyTold) -> None:
        self._lines(policy_lines(event))

    @show.register
    def _(self, event: CheckTold) -> None:
        self._lines(check_lines(event))

    @show.register
    def _(self, event: JointTold) -> None:
        self._lines(joint_lines(event))

    @show.register
    def _(self, event: RecoveryTold) -> None:
        self._lines(recovery_lines(event))

    @show.register
    def _(self, event: IdentityTold) -> None:
        self._lines(identity_lines(event))

    @show.register
    def _(self, event: TrustTold) -> None:
        self._lines(trust_lines(event))

    @show.register
    def _(self, event: ReleaseTold) -> None:
        self._lines(release_lines(event))

    @show.register
    def _(self, event: FilesTold) -> None:
        self._lines(files_lines(event))

    @show.register
    def _(self, event: InventoryTold) -> None:
        self._lines(inventory_lines(event))

    @show.register
    def _(self, event: ObjectTold) -> None:
        self._lines(object_lines(event))

    @show.register
    def _(self, event: AnswerTold) -> None:
        self._lines(answer_lines(event))

    @show.register
    def _(self, event: LogTold) -> None:
        self._lines(log_lines(event))

    @show.register
    def _(self, event: JobTold) -> None:
        if isinstance(event, e.ModelSealed):
            self.close()
        self._lines(job_lines(event))

    @show.register
    def _(self, event: WatchTold) -> None:
        self._lines(watch_lines(event))

    @show.register
    def _(self, event: JobProgressed) -> None:
        """A line for each state and each tenth of the clock."""
        here = (event.state, CLOCK_LINES * event.ticks // max(1, event.total_ticks))
        if here != self._clock:
            self._clock = here
            self._line("clock", f"{event.state}: {clock_words(event)}")

    @show.register
    def _(self, event: e.ReportOpened) -> None:
        report = event.report
        words = (
            f"round {report.round}, {loss_words(report)}, {heard_words(report)}, "
            f"{report.real_frames} real and {report.dummy_frames} dummy frames"
        )
        if report.outcome is None and self.console.is_terminal:
            self._advance("ticks", report.tick, report.total_ticks, words)
            return
        codes = "".join(f", {code}" for code in report.codes)
        self._line("tick", f"{report.tick} of {report.total_ticks}: {words}{codes}")
        if report.int8 is not None:
            self._line("int8", int8_words(report.int8))
        if report.told_provider is not None:
            self._line("", f"the provider is told: {told_words(report.told_provider)}")

    @show.register
    def _(self, event: e.PlainTwinTrained) -> None:
        self._line("plain", f"the same code in plain torch: accuracy {event.accuracy:.4f} in {event.seconds:.1f} s")

    @show.register
    def _(self, event: e.StackSeen) -> None:
        if event.state == "starting" and self._ready is not None:
            for name in sorted(set(event.ready) - self._ready):
                self._line("ready", name)
            self._ready = set(event.ready)
            return
        waiting = "".join(f"; {name} waits for {', '.join(what)}" for name, what in event.waiting.items() if what)
        self._line(event.state, f"{event.directory}: {len(event.ready)} services ready{waiting}")
        self._ready = set(event.ready)

    @show.register
    def _(self, event: e.Examined) -> None:
        style = {"ok": "", "note": "yellow", "mend": "bold red"}[event.state]
        self._line(event.part, f"{event.state}: {event.told}", style=style)
        if event.command is not None:
            self._line("", event.command, style=style)

    @show.register
    def _(self, event: e.StateCopied) -> None:
        at = datetime.fromtimestamp(event.made_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self._line(event.state, f"{event.directory}: {event.files} files, {event.bytes:,} bytes, as of {at}")
        if event.was_up:
            words = "the stack went on meanwhile: its key broker starts from this only if nothing was decided since"
            self._line("note", words, style="yellow")

    @show.register
    def _(self, event: e.StageBegan) -> None:
        self.close()
        self.console.rule(f"[bold]{event.title}", align="left")

    @show.register
    def _(self, event: e.DemoFinished) -> None:
        self.close()
        self.console.print(figures_table(event))
        self.console.print(trust_words(event.trust_level))

    @show.register
    def _(self, event: e.Explained) -> None:
        self._line("code", f"{event.code}: {event.mender} can mend it: {event.mend}")

    @show.register
    def _(self, event: e.Ended) -> None:
        self._line(event.state, event.identifier)
        if event.leases_end is not None:
            until = datetime.fromtimestamp(event.leases_end, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            self._line("leases", f"no enclave holds it after {until}, whatever its host keeps from it")
        if event.log_entry is not None:
            self._line("log", f"entry {event.log_entry} of the broker's log says so: its inclusion is verified")
        if event.proof is not None:
            self._line("proof", event.proof)
