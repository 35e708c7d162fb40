"""The suite of attacks on the `wasm` sandbox as the program of an enclave (side: enclave).

Started by `gramine_boot` like every enclave, in a tree of its own (tests/integration/test_gramine_attacks.py makes it).
pytest runs here without configuration, conftest and plugins of others; nothing is left out. stdout gets a line of JSON
for each test, as it ends, and at last one with pytest's exit status.
"""

import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Final, TextIO

import _pytest
import pytest

from common.enclave.gramine import is_gramine
from common.sandbox.wasm.engine import CHECKED, settings_here
from tests.fakes.wasm_components import component
from tests.security.sandbox import (
    test_attack_wasm_checked,
    test_attack_wasm_compiled,
    test_attack_wasm_components,
    test_attack_wasm_python,
    test_attack_wasm_running,
)
from tests.security.sandbox.wasm_parts import start

SUITE: Final = (
    test_attack_wasm_checked,
    test_attack_wasm_compiled,
    test_attack_wasm_components,
    test_attack_wasm_python,
    test_attack_wasm_running,
)

for name in ("encodings.unicode_escape", *(one.name for one in pkgutil.walk_packages(_pytest.__path__, "_pytest."))):
    importlib.import_module(name)  # pytest does it by computed names, or late: whoever traces this finds them here


class Telling:
    """A plugin of pytest that says what became of each test."""

    def __init__(self, told: TextIO) -> None:
        self._told = told

    def say(self, **words: object) -> None:
        """One line."""
        self._told.write(json.dumps(words) + "\n")
        self._told.flush()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each phase that did not pass, and each call."""
        if report.when == "call" or report.outcome != "passed":
            text = "" if report.outcome == "passed" else report.longreprtext[-2000:]
            name = report.nodeid.rpartition("/")[2]
            self.say(name=name, outcome=report.outcome, seconds=round(report.duration, 1), text=text)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that pytest can't take."""
        if report.outcome != "passed":
            self.say(name=report.nodeid, outcome=report.outcome, seconds=0.0, text=report.longreprtext[-2000:])


def main() -> None:
    """Entry point of the measured process."""
    with os.fdopen(os.dup(1), "w") as told, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what pytest prints
        telling = Telling(told)
        telling.say(gramine=is_gramine(), checked=CHECKED.items() <= settings_here().items())
        start(component()).close()  # makes the compiler's threads, whose memory Gramine counts whole as resident
        plain = ["--noconftest", "-c", os.devnull, "--rootdir", "/code", "--import-mode=importlib"]
        plain += [f"-pno:{name}" for name in ("cacheprovider", "debugging", "faulthandler")]
        plain += ["-W", "ignore::pytest.PytestUnknownMarkWarning"]
        status = pytest.main([*plain, *(str(module.__file__) for module in SUITE)], plugins=[telling])
        telling.say(status=int(status))


if __name__ == "__main__":
    main()
