"""Builds of this checkout whose query sandboxes answer with one engine, for measurements alone (side: owner).

A copy of the checkout with two lines more in one measured file. Its enclaves measure otherwise, so a stack of it signs
a release of its own, and whoever pinned the product's asks none of it: nothing that is shipped takes an engine from a
host, a setting or an argument (tests/security/test_nothing_skips_sealing.py).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from client.measuring import CODE_ROOT

PACKAGES: Final = ("bench", "client", "common", "deploy", "examples", "services")
CHOICE: Final = Path("common/sandboxed/engine_choice.py")
FORCED: Final = Path(__file__).with_name("forced_engine.py")

KINDS: Final[Mapping[str, str]] = {
    "eager": "EAGER",
    "fp32": "OPENVINO_FP32",
    "bf16": "OPENVINO_BF16",
    "int8": "OPENVINO_INT8",
}
"""Engines by the names that rows have for them, and in `EngineKind`."""


def build_with(engine: str, place: Path) -> Path:
    """A checkout in `place`, which is made, whose sandboxes answer every graph with `engine` of `KINDS`."""
    for package in PACKAGES:
        shutil.copytree(CODE_ROOT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(FORCED, place / CHOICE.with_name(FORCED.name))
    with (place / CHOICE).open("a") as choice:
        choice.write("\nfrom common.sandboxed.forced_engine import forced\n")
        choice.write(f"choose_engine = forced(EngineKind.{KINDS[engine]})\n")
    return place
