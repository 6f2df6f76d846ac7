"""Attention inside and between sets of unequal size, and pooling of them."""
