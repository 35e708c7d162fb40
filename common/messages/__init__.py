"""Typed messages: the only place where services meet (side: library)."""
