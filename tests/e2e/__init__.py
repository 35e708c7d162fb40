"""Whole jobs through the public SDK on a running stack."""
