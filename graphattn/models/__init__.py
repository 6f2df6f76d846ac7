"""Whole networks, made of the layers in ``graphattn.nn``."""

from graphattn.models.deep_sets import DeepSets
from graphattn.models.perceiver import Perceiver, PerceiverEncoder, PerceiverIO
from graphattn.models.pointer_network import PointerNetwork
from graphattn.models.set_transformer import SetTransformer

__all__ = [
    "DeepSets",
    "Perceiver",
    "PerceiverEncoder",
    "PerceiverIO",
    "PointerNetwork",
    "SetTransformer",
]
