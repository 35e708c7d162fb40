"""Attacks on a sandbox, in one table: what each tries, where, and what must come of it (side: library).

table        the entries: calls that must be refused, endings, forgeries, notes to the next, bundles that lie
calls        the entries that are one call of provider code each (its code: tests/security/sandbox/hostile_bundle)
bundles      bundles that are not what they say: bytes for `BundleContents.parse`
confined     plays the table against the `native` sandbox, training and query
unconfined   plays the same calls, endings and notes without a sandbox, to show that they can succeed
"""
