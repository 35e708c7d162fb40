"""Every parser of bytes that somebody else made, in one table: `table.PARSERS` (side: library).

Tests give each of them arbitrary and spoilt bytes (tests/security/test_parsers_fuzzed.py); `./cloister bench fuzz` lets
a coverage-guided fuzzer look for worse ones. A parser that is not in the table is not fuzzed.
"""
