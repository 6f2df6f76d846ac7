"""Softmax over the edges into each target, alone or with a sink."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.kernels.program import Reduction
from graphattn.normalizers.fused import FusedNormalizer


class Softmax(FusedNormalizer):
    r"""Weights that are positive and sum to one over the edges into a target.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\sum_{k \to i} \exp s_{ik}}

    A target without edges, or whose logits are all −inf, has no weight to give: its weights are
    zero. NaN and +inf act as in ``torch.softmax``, within their target and head.
    """

    @property
    def reduction(self) -> Reduction:
        return "softmax"

    def weights(self, logits: Tensor, edges: Edges, inputs: Mapping[str, Tensor]) -> Tensor:
        sink = inputs.get("sink")
        return reference.segment_softmax(logits, edges.target, edges.num_targets, sink)


class SoftmaxOne(Softmax):
    r"""Softmax with a sink of logit zero: a target may attend to nothing at all.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{1 + \sum_{k \to i} \exp s_{ik}}

    Source: Miller, "Attention Is Off By One", 2023; ``add_zero_attn`` of
        ``torch.nn.MultiheadAttention``.
    """

    def inputs(self, edges: Edges | Blocks) -> dict[str, tuple[str, Tensor]]:
        return {"sink": ("shared", torch.zeros(1, device=edges.device))}


class SinkSoftmax(Softmax):
    r"""Softmax with a sink whose logit is learned, one for each head.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\exp b + \sum_{k \to i} \exp s_{ik}}

    Args:
        heads: Number of heads.

    Attributes:
        sink: Logits of the sink, ``(heads,)``, zero to begin with.

    Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks", ICLR 2024,
        discuss sinks; the learned logit is that of OpenAI's gpt-oss models, 2025.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.sink = nn.Parameter(torch.zeros(heads))

    def inputs(self, edges: Edges | Blocks) -> dict[str, tuple[str, Tensor]]:
        return {"sink": ("shared", self.sink)}

    def extra_repr(self) -> str:
        return f"heads={self.sink.shape[0]}"
