"""Graph transformers: whole layers on edges, on all pairs of a graph, or on both."""
