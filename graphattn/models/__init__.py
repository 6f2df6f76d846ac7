"""Whole networks, made of the layers in ``graphattn.nn``."""

from graphattn.models.crystalformer import (
    Crystalformer,
    CrystalformerSizes,
    paper_attention,
    simplified_attention,
)
from graphattn.models.deep_sets import DeepSets
from graphattn.models.gps import GPS, LocalGPSLayer
from graphattn.models.graph_inputs import (
    FromAttribute,
    GraphFeatures,
    GraphInputs,
    LaplacianEncoding,
    RandomWalkEncoding,
    SummedEmbeddings,
)
from graphattn.models.graph_readout import GraphReadout, Scaled
from graphattn.models.graph_transformer import GraphTransformer, GraphTransformerForm
from graphattn.models.message_passing import MessagePassingNetwork, gcn_convs, gin_convs
from graphattn.models.perceiver import Perceiver, PerceiverEncoder, PerceiverIO
from graphattn.models.pointer_network import PointerNetwork
from graphattn.models.set_transformer import SetTransformer

__all__ = [
    "GPS",
    "Crystalformer",
    "CrystalformerSizes",
    "DeepSets",
    "FromAttribute",
    "GraphFeatures",
    "GraphInputs",
    "GraphReadout",
    "GraphTransformer",
    "GraphTransformerForm",
    "LaplacianEncoding",
    "LocalGPSLayer",
    "MessagePassingNetwork",
    "Perceiver",
    "PerceiverEncoder",
    "PerceiverIO",
    "PointerNetwork",
    "RandomWalkEncoding",
    "Scaled",
    "SetTransformer",
    "SummedEmbeddings",
    "gcn_convs",
    "gin_convs",
    "paper_attention",
    "simplified_attention",
]
