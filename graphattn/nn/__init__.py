"""Attention layers. A layer is parameters around a score and a message."""

from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.transformer_conv import TransformerConv

__all__ = ["GATConv", "GATv2Conv", "TransformerConv"]
