"""What the tests' sandboxes may use up; bombs try to use more (side: sandbox)."""

MEMORY_BYTES = 768 << 20
SCRATCH_BYTES = 16 << 20
SCRATCH_FILES = 4096
THREADS = 16
OPEN_FILES = 256
STACK_BYTES = 8 << 20
ADDRESS_BYTES = 1 << 30
"""Of mappings that are not memory of the sandbox's own; the windows and torch take less."""
