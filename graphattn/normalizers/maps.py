"""Maps of each logit by itself: sigmoid, softplus, ReLU, exponential, Laplace, none."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.normalizers.fused import FusedNormalizer


class Identity(FusedNormalizer):
    """The logits are the weights, of any sign and any sum."""

    def map(self, logits: Tensor) -> Tensor:
        return logits


class Sigmoid(FusedNormalizer):
    r"""Each weight by itself, between zero and one.

    .. math::
        \alpha_{ij} = \sigma(s_{ij} + b)

    Args:
        bias: :math:`b`, a number; the paper's is :math:`-\log n` for sequences of length n.
        heads: Learns one bias for each head, beginning with ``bias``.
        minus_log_degree: Takes :math:`\log n_i` off, :math:`n_i` the number of edges into the
            target, so that the sum of weights does not grow with it.

    Source: Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid Self-Attention",
        ICLR 2025.
    """

    def __init__(
        self, bias: float = 0.0, *, heads: int | None = None, minus_log_degree: bool = False
    ) -> None:
        super().__init__()
        self.start, self.minus_log_degree = bias, minus_log_degree
        self.bias = None if heads is None else nn.Parameter(torch.full((heads,), float(bias)))

    def map(
        self, logits: Tensor, bias: Tensor | None = None, log_degree: Tensor | None = None
    ) -> Tensor:
        logits = logits + (self.start if bias is None else bias)
        return torch.sigmoid(logits if log_degree is None else logits - log_degree.to(logits.dtype))

    def inputs(self, edges: Edges | Blocks) -> dict[str, tuple[str, Tensor]]:
        given: dict[str, tuple[str, Tensor]] = {}
        if self.bias is not None:
            given["bias"] = ("shared", self.bias)
        if self.minus_log_degree:
            degree = edges.by_target.ptr.diff().clamp(min=1)
            given["log_degree"] = ("target", degree.double().log()[:, None])
        return given

    def extra_repr(self) -> str:
        heads = "" if self.bias is None else f", heads={self.bias.shape[0]}"
        return f"bias={self.start}{heads}, minus_log_degree={self.minus_log_degree}"


class Laplace(FusedNormalizer):
    r"""Each weight by itself: the distribution function of a normal variable.

    .. math::
        \alpha_{ij} = \frac 1 2 \Bigl(1 + \operatorname{erf}
        \frac{s_{ij} - \mu}{\sigma \sqrt 2}\Bigr), \qquad
        \mu = \sqrt{1 / 2}, \quad \sigma = \sqrt{1 / 4 \pi}

    It is close to the square of a ReLU, and bounded.

    Source: Ma et al., "Mega: Moving Average Equipped Gated Attention", ICLR 2023.
    """

    def map(self, logits: Tensor) -> Tensor:
        scaled = (logits - math.sqrt(1 / 2)) * math.sqrt(2 * math.pi)
        return 0.5 * (1 + torch.erf(scaled))


class SoftplusSum(FusedNormalizer):
    r"""Weights that are positive and sum to one, without an exponential's temper.

    .. math::
        \alpha_{ij} = \frac{\log(1 + \exp s_{ij})}{\sum_{k \to i} \log(1 + \exp s_{ik})}
    """

    divides = True

    def map(self, logits: Tensor) -> Tensor:
        return F.softplus(logits)


class ReLUSum(FusedNormalizer):
    r"""Weights of the positive logits, in proportion to these; all zero where there is none.

    .. math::
        \alpha_{ij} = \frac{\max(s_{ij}, 0)}{\epsilon + \sum_{k \to i} \max(s_{ik}, 0)}

    Args:
        epsilon: Keeps a sum of tiny logits from making large weights.
    """

    divides = True

    def __init__(self, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def map(self, logits: Tensor) -> Tensor:
        return logits.relu()

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


class SigmoidSum(FusedNormalizer):
    r"""Gates between zero and one, over their sum.

    .. math::
        \alpha_{ij} = \frac{\sigma(s_{ij})}{\epsilon + \sum_{k \to i} \sigma(s_{ik})}

    Args:
        epsilon: Added to the sum.

    Source: Bresson and Laurent, "Residual Gated Graph ConvNets", 2017, whose code adds ``1e-6``.
    """

    divides = True

    def __init__(self, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def map(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


class ExponentialSum(FusedNormalizer):
    r"""Softmax without a shift by the largest logit, for logits that are bounded already.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\epsilon + \sum_{k \to i} \exp s_{ik}}

    Args:
        epsilon: Added to the sum.

    Source: the code of Kreuzer et al., "Rethinking Graph Transformers with Spectral Attention",
        NeurIPS 2021, which adds ``1e-6``.
    """

    divides = True

    def __init__(self, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def map(self, logits: Tensor) -> Tensor:
        return logits.exp()

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


class ClampedSoftmax(FusedNormalizer):
    r"""Softmax of logits that are clamped, in place of a shift by the largest.

    .. math::
        \alpha_{ij} = \frac{\exp \operatorname{clamp}(s_{ij}, -b, b)}
        {\epsilon + \sum_{k \to i} \exp \operatorname{clamp}(s_{ik}, -b, b)}

    Args:
        bound: :math:`b`, above 0.
        epsilon: Added to the sum.

    Raises:
        ValueError: If ``bound`` is not above 0.

    Source: the code of Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs",
        AAAI workshop 2021, with a bound of 5; it adds ``1e-6`` to the sum.
    """

    divides = True

    def __init__(self, bound: float = 5.0, epsilon: float = 0.0) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"bound must be above 0, got {bound}")
        self.bound, self.epsilon = bound, epsilon

    def map(self, logits: Tensor) -> Tensor:
        return logits.clamp(-self.bound, self.bound).exp()

    def extra_repr(self) -> str:
        return f"bound={self.bound}, epsilon={self.epsilon}"
