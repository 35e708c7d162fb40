"""Writes the test vectors: `python -m tests.vectors.generate [--randomised]` (side: library).

Most files come out the same each time, and a test holds them against what this makes. Those in which randomness cannot
be fixed (HPKE, ECDSA, certificates), or that pyarrow lays out as its version does, only with `--randomised`.
tests/vectors/query/queries.json and sealed_object have makers of their own.
"""

import argparse
from collections.abc import Iterator

from tests.vectors.make_crypto import crypto_files
from tests.vectors.make_exchange import exchange_files
from tests.vectors.make_frames import frames_file
from tests.vectors.make_graphs import graph_files
from tests.vectors.make_messages import message_files
from tests.vectors.make_objects import dataset_file, object_files, units_file
from tests.vectors.make_protocol import protocol_files
from tests.vectors.make_quotes import quote_file
from tests.vectors.make_wrapped import wrapped_file
from tests.vectors.vector_file import VECTORS


def deterministic_files() -> Iterator[tuple[str, bytes]]:
    """Path below tests/vectors and content of each file that this makes anew, byte for byte."""
    for file in (
        *crypto_files(),
        *object_files(),
        *protocol_files(),
        *exchange_files(),
        frames_file(),
        *message_files(),
        *graph_files(),
    ):
        yield file.path, file.encode()


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(prog="python -m tests.vectors.generate")
    parser.add_argument("--randomised", action="store_true", help="also those that come out otherwise each time")
    files = dict(deterministic_files())
    if parser.parse_args().randomised:
        files |= {file.path: file.encode() for file in (wrapped_file(), quote_file(), dataset_file(), units_file())}
    for path, content in files.items():
        (VECTORS / path).parent.mkdir(parents=True, exist_ok=True)
        (VECTORS / path).write_bytes(content)


if __name__ == "__main__":
    main()
