"""Benchmarks on crystals: sums over their images, and a model that is made of them."""
