"""Data sets: one file per source, each a function that returns plain tensors."""
