"""Attention layers. A layer is parameters around a score and a message."""

from graphattn.nn.acmil import ACMIL, branch_similarity, keep_at_random
from graphattn.nn.agent_attention import AgentAttention, cluster_means
from graphattn.nn.agile3d_block import AGILE3DBlock
from graphattn.nn.cross_attention import CrossAttention
from graphattn.nn.distance_attention import DistanceAttention
from graphattn.nn.dot_product import dot_product_attention
from graphattn.nn.dual_attention import DualAttention, RelationalAttention, Relations
from graphattn.nn.fourier_features import fourier_features, octave_features
from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gated_attention_pooling import GatedAttentionPooling
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.latent import LatentLayer
from graphattn.nn.luna_block import LUNABlock
from graphattn.nn.multihead_acmil import MultiheadACMIL
from graphattn.nn.neural_attention import NeuralAttention
from graphattn.nn.padded_sets import from_padded
from graphattn.nn.perceiver_layer import PerceiverLayer
from graphattn.nn.pointer_attention import PointerAttention, chosen
from graphattn.nn.positional_attention import PositionalAttention, PositionalTransformerLayer
from graphattn.nn.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.rin_block import RINBlock
from graphattn.nn.seeds import CarriedSeeds, LearnedSeeds, PooledSeeds, Seeds
from graphattn.nn.set_attention import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)
from graphattn.nn.set_transformer_aggregation import SetTransformerAggregation
from graphattn.nn.set_transformer_blocks import (
    ISAB,
    MAB,
    OFFICIAL_CODE,
    PAPER,
    PMA,
    SAB,
    BlockForm,
)
from graphattn.nn.symbolic_attention import SymbolicAttention
from graphattn.nn.transformer_conv import TransformerConv
from graphattn.nn.virtual_node import VirtualNode

__all__ = [
    "ACMIL",
    "ISAB",
    "MAB",
    "OFFICIAL_CODE",
    "PAPER",
    "PMA",
    "SAB",
    "AGILE3DBlock",
    "AgentAttention",
    "BlockForm",
    "CarriedSeeds",
    "CrossAttention",
    "CrossAttentionBlock",
    "DistanceAttention",
    "DualAttention",
    "GATConv",
    "GATv2Conv",
    "GatedAttentionPooling",
    "InducedSetAttentionBlock",
    "LUNABlock",
    "LatentLayer",
    "LearnedSeeds",
    "MultiheadACMIL",
    "MultiheadAttentionBlock",
    "NeuralAttention",
    "PerceiverLayer",
    "PointerAttention",
    "PooledSeeds",
    "PoolingByMultiheadAttention",
    "PositionalAttention",
    "PositionalTransformerLayer",
    "RINBlock",
    "RelationalAttention",
    "Relations",
    "Seeds",
    "SelfAttentionBlock",
    "SetAttentionBlock",
    "SetTransformerAggregation",
    "SymbolicAttention",
    "TransformerConv",
    "VirtualNode",
    "branch_similarity",
    "chosen",
    "cluster_means",
    "dot_product_attention",
    "fourier_features",
    "from_padded",
    "keep_at_random",
    "octave_features",
]
