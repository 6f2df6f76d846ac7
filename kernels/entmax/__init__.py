"""Sparse alternatives to softmax over segments: sparsemax, entmax-1.5, entmax of any alpha."""
