"""What a first graph would build is built before any clock begins."""

import subprocess
import sys

from client.measuring import CODE_ROOT

_AHEAD = """
from common.exported_graph import build_checks
from common.model_graph.graph import ModelGraph
assert not ModelGraph.__pydantic_complete__, "else nothing is left to build"
build_checks()
assert ModelGraph.__pydantic_complete__
"""


def test_checks_are_built_before_the_first_graph_comes() -> None:
    subprocess.run([sys.executable, "-P", "-c", _AHEAD], check=True, env={"PYTHONPATH": str(CODE_ROOT)})
