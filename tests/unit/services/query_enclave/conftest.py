"""Fixtures of the query tests."""

from tests.fakes.query_fixtures import world, world_directory

__all__ = ["world", "world_directory"]
