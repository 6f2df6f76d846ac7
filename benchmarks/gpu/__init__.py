"""Attention on a GPU: checked against float64, timed against the peers, held to the bandwidth."""
