"""The deeds of the hostile bundle, in the order of their numbers (side: sandbox)."""

NAMES = (
    "attempt",
    "end",
    "forge",
    "poisoned",
    "entropy",
    "eat_memory",
    "not_a_number",
    "infinite",
    "answer_of_other_size",
    "remember",
    "recall",
    "process_number",
    "echo",
    "fill_scratch",
    "environment",
    "measure_memory",
    "count_threads",
)
