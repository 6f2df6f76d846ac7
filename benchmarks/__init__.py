"""Benchmarks against the peers, side by side in one run; see run.py."""
