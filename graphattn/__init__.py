"""Attention for data that is not a sequence: graphs, sets, molecules, crystals."""

from importlib.metadata import PackageNotFoundError, version

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.program import CaptureError
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.kernels.segment_softmax import segment_softmax
from graphattn.normalizers import Normalizer, Softmax
from graphattn.show import show

try:
    __version__ = version("graphattn")
except PackageNotFoundError:  # a checkout that is used without being installed
    __version__ = "0.0.0"

__all__ = [
    "Blocks",
    "CaptureError",
    "EdgeAttention",
    "Edges",
    "Normalizer",
    "Softmax",
    "__version__",
    "segment_reduce",
    "segment_softmax",
    "show",
]
