"""How the logits of a target's edges become weights."""

from graphattn.normalizers.fused import FusedNormalizer, is_fused
from graphattn.normalizers.maps import (
    ClampedSoftmax,
    ExponentialSum,
    Identity,
    Laplace,
    ReLUSum,
    Sigmoid,
    SigmoidSum,
    SoftplusSum,
)
from graphattn.normalizers.normalizer import Normalizer
from graphattn.normalizers.softmax import SinkSoftmax, Softmax, SoftmaxOne
from graphattn.normalizers.sparse import AdaptiveEntmax, Entmax, Entmax15, Sparsemax
from graphattn.normalizers.standardize import Standardize
from graphattn.normalizers.symmetric import SymmetricDegree

__all__ = [
    "AdaptiveEntmax",
    "ClampedSoftmax",
    "Entmax",
    "Entmax15",
    "ExponentialSum",
    "FusedNormalizer",
    "Identity",
    "Laplace",
    "Normalizer",
    "ReLUSum",
    "Sigmoid",
    "SigmoidSum",
    "SinkSoftmax",
    "Softmax",
    "SoftmaxOne",
    "SoftplusSum",
    "Sparsemax",
    "Standardize",
    "SymmetricDegree",
    "is_fused",
]
