"""Attention on sets against its peers: cases, contestants and weights."""
