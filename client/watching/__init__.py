"""Watching a job (side: owner): what anybody may know of it, and what its enclaves seal to its owner.

live         a job while it runs: for its owner all that follows, for others what is public
following    a job to its end: public states, opened reports, the sealed model
reports      reports, each opened once
rates        throughput between reports, and forecast beside fact
curves       loss and throughput as SVG or CSV
events       what is told; rendering: its lines
"""
