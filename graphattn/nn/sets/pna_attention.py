"""Attention whose messages are reduced to mean, extremes and spread, and scaled by degree."""

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.sets.dot_product import attend
from graphattn.streamed import Chunk, stream

_LEAST_VARIANCE = 1e-5  # below, the spread is zero, and so is its gradient


def message_statistics(message: Tensor, ptr: Tensor) -> Tensor:
    """Mean, least, largest and standard deviation of the messages to each target.

    Args:
        message: ``(E, ...)``, those to one target after another.
        ptr: Messages to target ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(N + 1,)``, int64.

    Returns:
        ``(N, 4, ...)``; zeros for a target without messages. Deviations are divided by the number
        of messages, and are zero where the variance is below ``1e-5``, as in PyTorch Geometric.

    Raises:
        TypeError, ValueError: See ``segment_reduce``.
    """
    mean = segment_reduce(message, ptr, "mean")
    offset = message - segment_expand(mean, ptr, message.shape[0])
    variance = segment_reduce(offset.square(), ptr, "mean")
    is_spread = variance > _LEAST_VARIANCE
    spread = torch.where(is_spread, variance, 1).sqrt() * is_spread
    least, largest = (segment_reduce(message, ptr, end) for end in ("min", "max"))
    return torch.stack([mean, least, largest, spread], dim=1)


def degree_scaled(statistics: Tensor, degree: Tensor, mean_log_degree: float) -> Tensor:
    r"""Statistics as they are, amplified and attenuated by the logarithm of the degree.

    .. math::
        x, \qquad x \frac{\log(d + 1)}{\delta}, \qquad x \frac{\delta}{\log(d + 1)}

    Args:
        statistics: ``(N, ...)``.
        degree: Number of messages of each target, ``(N,)``.
        mean_log_degree: δ, see the function of this name.

    Returns:
        ``(N, 3, ...)``.
    """
    log_degree = degree.clamp(min=1).to(statistics.dtype).log1p()  # without messages all is zero
    factor = (log_degree / mean_log_degree).view(-1, *[1] * (statistics.ndim - 1))
    return torch.stack([statistics, statistics * factor, statistics / factor], dim=1)


def mean_log_degree(structure: Edges | Blocks) -> float:
    """The mean of ``log(d + 1)`` over the targets of a structure, 1 without any.

    Args:
        structure: That of the training set, or of a part that stands for it.
    """
    degree = structure.by_target.ptr.diff().double()
    return float(degree.log1p().mean()) if degree.any() else 1.0


class PNAAttention(nn.Module):
    r"""Dot-product attention, its weighted messages reduced in four ways and scaled in three.

    .. math::
        x_i' = W_o \Big\Vert_h \Bigl[1, \frac{\log(d_i + 1)}{\delta}, \frac{\delta}{\log(d_i + 1)}
        \Bigr] \otimes \bigl[\operatorname{mean}_j m_{ij}, \min_j m_{ij}, \max_j m_{ij},
        \operatorname{std}_j m_{ij}\bigr], \qquad
        m_{ij} = \operatorname{softmax}_j(q_i \cdot k_j / \sqrt{C})\, v_j

    with :math:`d_i` edges into ``i``. Over ``Edges`` the messages are stored, ``(E, H, C)``; over
    ``Blocks`` those of some queries at a time, and made anew in the backward pass.

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        mean_log_degree: δ, the mean of :math:`\log(d + 1)` over the training set; see the function
            of this name.

    Shapes:
        - x: ``(N, channels)``
        - structure: its targets and its sources are the elements
        - output: ``(N, channels)``, the output bias alone for an element without edges

    Raises:
        TypeError: If ``structure`` is neither ``Edges`` nor ``Blocks``.
        ValueError: If ``heads`` does not divide ``channels``, ``mean_log_degree`` is not positive,
            or a shape does not fit.

    Source: reductions and scalers of Corso et al., "Principal Neighbourhood Aggregation for Graph
        Nets", NeurIPS 2020, on weighted messages, as in "Graph-Aware Isomorphic Attention for
        Adaptive Dynamics in Transformers", 2025, which has sum, mean, largest and variance, and no
        scalers.
    """

    def __init__(self, channels: int, heads: int = 1, mean_log_degree: float = 1.0) -> None:
        super().__init__()
        check_heads(channels, heads)
        if not mean_log_degree > 0:
            raise ValueError(f"mean_log_degree must be positive, got {mean_log_degree}")
        self.channels, self.heads, self.mean_log_degree = channels, heads, mean_log_degree
        self.lin_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.lin_out = nn.Linear(12 * channels, channels)

    def forward(self, x: Tensor, structure: Edges | Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        if not isinstance(structure, Edges | Blocks):
            raise TypeError(f"structure must be Blocks or Edges, got {type(structure).__name__}")
        check_elements("x", x, structure.num_sources, self.channels)
        if structure.num_targets != structure.num_sources:
            raise ValueError(
                "structure must have the same elements as targets and as sources, got"
                f" {structure.num_targets} and {structure.num_sources}"
            )
        qkv = self.lin_qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(1)
        given = dict(zip(("query", "key", "value"), qkv, strict=True))  # (N, H, C) each
        if isinstance(structure, Blocks):
            roles = {"query": "target", "key": "source", "value": "source"}
            (found,) = stream(_of_chunk, structure, given, roles, ["target"])
        else:
            found = _statistics(structure, given)
        degree = structure.by_target.ptr.diff()
        scaled = degree_scaled(found, degree, self.mean_log_degree)  # (N, 3, 4, H, C)
        projected: Tensor = self.lin_out(scaled.flatten(1))
        return projected

    def extra_repr(self) -> str:
        return f"heads={self.heads}, mean_log_degree={self.mean_log_degree:.4g}"


def _of_chunk(chunk: Chunk, given: dict[str, Tensor]) -> list[Tensor]:
    return [_statistics(chunk.blocks, given)]


def _statistics(structure: Edges | Blocks, given: dict[str, Tensor]) -> Tensor:
    """Those of the weighted messages to each target, ``(N, 4, H, C)``."""
    _, weights = attend(structure, **given, return_weights=True)  # (E, H)
    message = weights.unsqueeze(-1) * given["value"].index_select(0, structure.source)
    if isinstance(structure, Edges):
        message = message.index_select(0, structure.by_target.order)
    return message_statistics(message, structure.by_target.ptr)
