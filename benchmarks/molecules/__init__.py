"""Benchmarks on molecules: training steps of whole networks, each on molecules not seen before."""
