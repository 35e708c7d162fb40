"""One parser under the coverage-guided fuzzer (side: library): `python -m bench.fuzz_target NAME OPTION ... CORPUS`.

Options are libFuzzer's. What the fuzzer sees of a parser are the branches of our own Python; engines in Rust and C++
are judged by what they return. The process ends with the first finding, whose bytes it leaves in a file.
"""

import sys

import atheris

with atheris.instrument_imports(include=["common", "services", "client"]):
    from tests.parsers.table import PARSERS


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], PARSERS[name].judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
