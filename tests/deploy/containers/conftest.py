"""One installation with its stack, as its operator makes it, for all tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from tests.deploy.containers.engine import require_stack
from tests.deploy.containers.stack import Project


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A stack that is up."""
    require_stack()
    project = Project.prepared(f"cloister-test-{os.getpid()}", tmp_path_factory.mktemp("compose"))
    try:
        project.up()
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "20", check=False)
