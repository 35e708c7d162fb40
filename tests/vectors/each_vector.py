"""One test for each vector of a file (side: library)."""

import pytest

from tests.vectors.vector_file import read_vectors


def each_vector(path: str) -> pytest.MarkDecorator:
    """Parametrises `vector`, under the vectors' names."""
    vectors = read_vectors(path)
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])
