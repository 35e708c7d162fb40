"""The deeds of the hostile bundle, in the order of their numbers (side: sandbox)."""

NAMES = (
    "escape",
    "raise_error",
    "leave",
    "end_process",
    "crash",
    "loop",
    "sleep",
    "eat_memory",
    "spread",
    "print_data",
    "not_a_number",
    "oversize",
    "remember",
    "recall",
    "process_number",
    "echo",
    "fill_scratch",
    "early_completion",
    "environment",
)
