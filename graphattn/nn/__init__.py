"""Attention layers for graphs."""

from torch_geometric.nn import GATConv, GATv2Conv, TransformerConv

__all__ = ["GATConv", "GATv2Conv", "TransformerConv"]
