"""How the logits of a target's edges become weights."""

from graphattn.normalizers.normalizer import Normalizer
from graphattn.normalizers.softmax import Softmax

__all__ = ["Normalizer", "Softmax"]
