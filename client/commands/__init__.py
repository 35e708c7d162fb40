"""The command groups (side: owner). Each command parses options, calls one SDK operation and renders its events."""
