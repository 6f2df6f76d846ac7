"""Attention layers. A layer is parameters around a score and a message."""

from graphattn.nn.dot_product import dot_product_attention
from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.set_attention import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)
from graphattn.nn.set_transformer_aggregation import SetTransformerAggregation
from graphattn.nn.transformer_conv import TransformerConv

__all__ = [
    "GATConv",
    "GATv2Conv",
    "InducedSetAttentionBlock",
    "MultiheadAttentionBlock",
    "PoolingByMultiheadAttention",
    "SetAttentionBlock",
    "SetTransformerAggregation",
    "TransformerConv",
    "dot_product_attention",
]
