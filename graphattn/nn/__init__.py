"""Attention layers. A layer is parameters around a score and a message."""

from graphattn.nn.acmil import ACMIL, branch_similarity, keep_at_random
from graphattn.nn.agent_attention import AgentAttention, cluster_means
from graphattn.nn.agile3d_block import AGILE3DBlock
from graphattn.nn.cross_attention import CrossAttention
from graphattn.nn.crystalformer_forms import (
    ATOM_SOFTMAX,
    IMAGE_SOFTMAX,
    CrystalformerForm,
    without_softmax,
)
from graphattn.nn.crystalformer_layer import CrystalformerAttention, CrystalformerLayer
from graphattn.nn.crystals import Crystals
from graphattn.nn.distance_attention import DistanceAttention
from graphattn.nn.dot_product import dot_product_attention
from graphattn.nn.dual_attention import DualAttention, RelationalAttention, Relations
from graphattn.nn.edge_set_attention import EdgeSetAttention, edges_sharing_nodes
from graphattn.nn.encodings import DegreeEncoding, GaussianDistance, RadialBasis, RandomSignFlip
from graphattn.nn.exphormer_layer import ExphormerLayer
from graphattn.nn.flow_attention import FlowAttention
from graphattn.nn.fourier_features import fourier_features, octave_features
from graphattn.nn.galerkin_attention import FourierAttention, GalerkinAttention, HeadNorm
from graphattn.nn.gat_conv import GATConv
from graphattn.nn.gated_attention_pooling import GatedAttentionPooling
from graphattn.nn.gated_gcn_layer import GatedGCNLayer
from graphattn.nn.gatv2_conv import GATv2Conv
from graphattn.nn.gaussian_widths import (
    AtomWidth,
    FirstBatchStandardized,
    HeadWidth,
    MappedAtomWidth,
    PositiveAbsolute,
    PositiveELU,
    PositiveExponential,
    PositiveMap,
    PositiveSigmoid,
    PositiveSoftplus,
    QueryWidth,
)
from graphattn.nn.gps_conv import GPSConv
from graphattn.nn.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformer_layer import GraphTransformerLayer
from graphattn.nn.graphormer_bias import (
    DirectEdgeBias,
    GraphormerBias,
    PathBias,
    is_token,
    with_tokens,
)
from graphattn.nn.graphormer_layer import GraphormerAttention, GraphormerLayer, GraphToken
from graphattn.nn.grit_layer import GRITLayer
from graphattn.nn.latent import LatentLayer
from graphattn.nn.lattice_terms import (
    Gaussians,
    HeadGroups,
    RadialFunctions,
    RealSpace,
    ReciprocalSpace,
)
from graphattn.nn.lattice_waves import WaveSpace
from graphattn.nn.linear_attention import (
    EfficientAttention,
    LinearAttention,
    LinearSetAttention,
    MagnitudeAwareLinearAttention,
)
from graphattn.nn.linformer_attention import LinformerAttention
from graphattn.nn.luna_block import LUNABlock
from graphattn.nn.matformer_conv import MatformerConv
from graphattn.nn.multihead_acmil import MultiheadACMIL
from graphattn.nn.neural_attention import NeuralAttention
from graphattn.nn.nystrom_attention import NystromAttention
from graphattn.nn.padded_sets import from_padded
from graphattn.nn.perceiver_layer import PerceiverLayer
from graphattn.nn.pna_attention import (
    PNAAttention,
    degree_scaled,
    mean_log_degree,
    message_statistics,
)
from graphattn.nn.pointer_attention import PointerAttention, chosen
from graphattn.nn.positional_attention import PositionalAttention, PositionalTransformerLayer
from graphattn.nn.postnorm_update import PostnormUpdate
from graphattn.nn.random_feature_attention import PerformerAttention, RandomFeatureAttention
from graphattn.nn.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.rin_block import RINBlock
from graphattn.nn.san_layer import SANLayer
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
    "ATOM_SOFTMAX",
    "IMAGE_SOFTMAX",
    "ISAB",
    "MAB",
    "OFFICIAL_CODE",
    "PAPER",
    "PMA",
    "SAB",
    "AGILE3DBlock",
    "AgentAttention",
    "AtomWidth",
    "BlockForm",
    "CarriedSeeds",
    "CrossAttention",
    "CrossAttentionBlock",
    "CrystalformerAttention",
    "CrystalformerForm",
    "CrystalformerLayer",
    "Crystals",
    "DegreeEncoding",
    "DirectEdgeBias",
    "DistanceAttention",
    "DualAttention",
    "EdgeSetAttention",
    "EfficientAttention",
    "ExphormerLayer",
    "FirstBatchStandardized",
    "FlowAttention",
    "FourierAttention",
    "GATConv",
    "GATv2Conv",
    "GPSConv",
    "GRITLayer",
    "GalerkinAttention",
    "GatedAttentionPooling",
    "GatedGCNLayer",
    "GaussianDistance",
    "Gaussians",
    "GraphToken",
    "GraphTransformerAttention",
    "GraphTransformerLayer",
    "GraphormerAttention",
    "GraphormerBias",
    "GraphormerLayer",
    "HeadGroups",
    "HeadNorm",
    "HeadWidth",
    "InducedSetAttentionBlock",
    "LUNABlock",
    "LatentLayer",
    "LearnedSeeds",
    "LinearAttention",
    "LinearSetAttention",
    "LinformerAttention",
    "MagnitudeAwareLinearAttention",
    "MappedAtomWidth",
    "MatformerConv",
    "MultiheadACMIL",
    "MultiheadAttentionBlock",
    "NeuralAttention",
    "NystromAttention",
    "PNAAttention",
    "PathBias",
    "PerceiverLayer",
    "PerformerAttention",
    "PointerAttention",
    "PooledSeeds",
    "PoolingByMultiheadAttention",
    "PositionalAttention",
    "PositionalTransformerLayer",
    "PositiveAbsolute",
    "PositiveELU",
    "PositiveExponential",
    "PositiveMap",
    "PositiveSigmoid",
    "PositiveSoftplus",
    "PostnormUpdate",
    "QueryWidth",
    "RINBlock",
    "RadialBasis",
    "RadialFunctions",
    "RandomFeatureAttention",
    "RandomSignFlip",
    "RealSpace",
    "ReciprocalSpace",
    "RelationalAttention",
    "Relations",
    "SANLayer",
    "Seeds",
    "SelfAttentionBlock",
    "SetAttentionBlock",
    "SetTransformerAggregation",
    "SymbolicAttention",
    "TransformerConv",
    "VirtualNode",
    "WaveSpace",
    "branch_similarity",
    "chosen",
    "cluster_means",
    "degree_scaled",
    "dot_product_attention",
    "edges_sharing_nodes",
    "fourier_features",
    "from_padded",
    "is_token",
    "keep_at_random",
    "mean_log_degree",
    "message_statistics",
    "octave_features",
    "with_tokens",
    "without_softmax",
]
