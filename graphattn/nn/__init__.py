"""Attention layers. A layer is parameters around a score and a message."""

from graphattn.nn.convolutions.gat_conv import GATConv
from graphattn.nn.convolutions.gated_gcn_layer import GatedGCNLayer
from graphattn.nn.convolutions.gatv2_conv import GATv2Conv
from graphattn.nn.convolutions.matformer_conv import MatformerConv
from graphattn.nn.convolutions.transformer_conv import TransformerConv
from graphattn.nn.crystals.crystalformer_forms import (
    ATOM_SOFTMAX,
    IMAGE_SOFTMAX,
    CrystalformerForm,
    without_softmax,
)
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention, CrystalformerLayer
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.gaussian_widths import (
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
from graphattn.nn.crystals.lattice_terms import (
    Gaussians,
    HeadGroups,
    RadialFunctions,
    RealSpace,
    ReciprocalSpace,
)
from graphattn.nn.crystals.lattice_waves import WaveSpace
from graphattn.nn.graph_transformers.edge_set_attention import EdgeSetAttention, edges_sharing_nodes
from graphattn.nn.graph_transformers.encodings import (
    DegreeEncoding,
    GaussianDistance,
    RadialBasis,
    RandomSignFlip,
)
from graphattn.nn.graph_transformers.exphormer_layer import ExphormerLayer
from graphattn.nn.graph_transformers.gps_conv import GPSConv
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.graph_transformer_layer import GraphTransformerLayer
from graphattn.nn.graph_transformers.graphormer_bias import (
    DirectEdgeBias,
    GraphormerBias,
    PathBias,
    is_token,
    with_tokens,
)
from graphattn.nn.graph_transformers.graphormer_layer import (
    GraphormerAttention,
    GraphormerLayer,
    GraphToken,
)
from graphattn.nn.graph_transformers.grit_layer import GRITLayer
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate
from graphattn.nn.graph_transformers.san_layer import SANLayer
from graphattn.nn.latents.agent_attention import AgentAttention, cluster_means
from graphattn.nn.latents.agile3d_block import AGILE3DBlock
from graphattn.nn.latents.fourier_features import fourier_features, octave_features
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.luna_block import LUNABlock
from graphattn.nn.latents.perceiver_layer import PerceiverLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.latents.rin_block import RINBlock
from graphattn.nn.latents.seeds import CarriedSeeds, LearnedSeeds, PooledSeeds, Seeds
from graphattn.nn.latents.virtual_node import VirtualNode
from graphattn.nn.linear.flow_attention import FlowAttention
from graphattn.nn.linear.galerkin_attention import FourierAttention, GalerkinAttention, HeadNorm
from graphattn.nn.linear.linear_attention import (
    EfficientAttention,
    LinearAttention,
    LinearSetAttention,
    MagnitudeAwareLinearAttention,
)
from graphattn.nn.linear.linformer_attention import LinformerAttention
from graphattn.nn.linear.nystrom_attention import NystromAttention
from graphattn.nn.linear.random_feature_attention import PerformerAttention, RandomFeatureAttention
from graphattn.nn.sets.acmil import ACMIL, branch_similarity, keep_at_random
from graphattn.nn.sets.cross_attention import CrossAttention
from graphattn.nn.sets.distance_attention import DistanceAttention
from graphattn.nn.sets.dot_product import dot_product_attention
from graphattn.nn.sets.dual_attention import DualAttention, RelationalAttention, Relations
from graphattn.nn.sets.gated_attention_pooling import GatedAttentionPooling
from graphattn.nn.sets.multihead_acmil import MultiheadACMIL
from graphattn.nn.sets.neural_attention import NeuralAttention
from graphattn.nn.sets.padded_sets import from_padded
from graphattn.nn.sets.pna_attention import (
    PNAAttention,
    degree_scaled,
    mean_log_degree,
    message_statistics,
)
from graphattn.nn.sets.pointer_attention import PointerAttention, chosen
from graphattn.nn.sets.positional_attention import PositionalAttention, PositionalTransformerLayer
from graphattn.nn.sets.set_attention import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)
from graphattn.nn.sets.set_transformer_aggregation import SetTransformerAggregation
from graphattn.nn.sets.set_transformer_blocks import (
    ISAB,
    MAB,
    OFFICIAL_CODE,
    PAPER,
    PMA,
    SAB,
    BlockForm,
)
from graphattn.nn.sets.symbolic_attention import SymbolicAttention

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
