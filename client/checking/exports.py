"""Whether a bundle's code exports to a graph, as a job would find out (side: owner: the provider's machine).

No graph is no failure: the model is then served by the provider's code, in a new process for each query.
"""

from typing import Final

from client.checking import events as c
from client.checking.watched import WatchedPlace
from common.bundle import BundleContents
from common.errors import FormatError
from common.exchange.steering import unpad_design
from common.exported_graph import open_exported
from common.sandbox.exporting import NO_SEEDS, GraphExport, export_work
from common.sandbox.protocol import SandboxLimits

EXPORT_SECONDS: Final = 60.0
"""The most that a job gives it (services/trainer_enclave)."""


def export_of(contents: BundleContents, limits: SandboxLimits) -> c.CodeExported:
    """Export it in a watched sandbox. Raises `ConfinementError`."""
    place = WatchedPlace(contents, export_work(contents.manifest), NO_SEEDS, limits)
    written = GraphExport(place).run(EXPORT_SECONDS)
    if written is None:
        said = [str(line.get("text")) for line in place.take_told() if line["kind"] == "raised"]
        words = said[-1].strip().splitlines()[-1] if said else "the process ended, or took too long"
        return c.CodeExported(exports=False, text=words.rpartition("ExportError: ")[2])
    try:
        graph = open_exported(unpad_design(written), contents.manifest)
    except FormatError as refusal:
        return c.CodeExported(exports=False, text=f"expected {refusal.expected}, seen {refusal.seen}")
    return c.CodeExported(exports=True, text=f"{len(graph.graph.nodes)} operations")
