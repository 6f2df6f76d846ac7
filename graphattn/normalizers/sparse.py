"""Weights of which many are exactly zero: sparsemax, entmax-1.5, entmax of any alpha."""

import math

import torch
from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.kernels.entmax.op import entmax
from graphattn.normalizers.normalizer import Normalizer

_LEAST_EXCESS = 1e-3  # of a learned alpha over one, which float32 rounds to one in the end


class Sparsemax(Normalizer):
    r"""The point of the simplex that is nearest to the logits: few weights, the rest zero.

    .. math::
        \alpha_{ij} = [s_{ij} - \tau_i]_+, \qquad \tau_i: \textstyle\sum_{j \to i} \alpha_{ij} = 1

    A logit that is one or more below the largest of its target has no weight. For empty targets,
    infinities and NaN see ``Entmax``.

    Source: Martins and Astudillo, "From Softmax to Sparsemax: A Sparse Model of Attention and
        Multi-Label Classification", ICML 2016.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return _entmax(logits, edges, 2.0)


class Entmax15(Normalizer):
    r"""Entmax with alpha 1.5: between softmax and sparsemax, and as cheap as either.

    .. math::
        \alpha_{ij} = \bigl[s_{ij} / 2 - \tau_i\bigr]_+^2, \qquad
        \tau_i: \textstyle\sum_{j \to i} \alpha_{ij} = 1

    A logit that is two or more below the largest of its target has no weight. For empty targets,
    infinities and NaN see ``Entmax``.

    Source: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return _entmax(logits, edges, 1.5)


class Entmax(Normalizer):
    r"""Weights as sparse as alpha says, from nearly softmax (1) over entmax-1.5 to sparsemax (2).

    .. math::
        \alpha_{ij} = \bigl[(\alpha - 1) s_{ij} - \tau_i\bigr]_+^{1 / (\alpha - 1)}, \qquad
        \tau_i: \textstyle\sum_{j \to i} \alpha_{ij} = 1

    A target without edges, or whose logits are all −inf, has weights of zero. Logits of +inf share
    the weight equally, the limit of large ones. NaN gives NaN within its target and head.

    Args:
        alpha: Finite, above one: a number, or a tensor with one for each head, ``(H,)``. An
            ``nn.Parameter`` is learned as it is, and gives NaN if it leaves that range; see
            ``AdaptiveEntmax`` for one that cannot.

    Raises:
        TypeError: If ``alpha`` is neither a number nor a floating-point tensor.
        ValueError: If ``alpha`` is not above one, not finite, or has two dimensions.

    Source: Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019.
    """

    alpha: float | Tensor

    def __init__(self, alpha: float | Tensor = 1.5) -> None:
        super().__init__()
        _check(alpha)
        if isinstance(alpha, Tensor) and not isinstance(alpha, nn.Parameter):
            self.register_buffer("alpha", alpha)
        else:
            self.alpha = alpha

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return _entmax(logits, edges, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha.tolist() if isinstance(self.alpha, Tensor) else self.alpha}"


class AdaptiveEntmax(Normalizer):
    r"""Entmax whose heads each learn how sparse they are, between softmax and sparsemax.

    .. math::
        \alpha_h = 1 + \varepsilon + (1 - \varepsilon) \sigma(a_h)

    Args:
        heads: Number of heads.
        alpha: Where all heads start, between 1.001 and 2.

    Raises:
        ValueError: If ``alpha`` does not lie there, or ``heads`` is negative.

    Source: Correia, Niculae and Martins, "Adaptively Sparse Transformers", EMNLP 2019, without
        ε = 0.001, which keeps the rounded alpha away from one.
    """

    def __init__(self, heads: int, alpha: float = 1.5) -> None:
        super().__init__()
        if heads < 0:
            raise ValueError(f"heads must not be negative, got {heads}")
        if not 1 + _LEAST_EXCESS < alpha < 2:
            raise ValueError(f"alpha must lie between {1 + _LEAST_EXCESS} and 2, got {alpha}")
        share = (alpha - 1 - _LEAST_EXCESS) / (1 - _LEAST_EXCESS)
        self.free_alpha = nn.Parameter(torch.full((heads,), math.log(share / (1 - share))))

    @property
    def alpha(self) -> Tensor:
        """Alpha of each head, ``(H,)``."""
        return 1 + _LEAST_EXCESS + (1 - _LEAST_EXCESS) * self.free_alpha.sigmoid()

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return _entmax(logits, edges, self.alpha)

    def extra_repr(self) -> str:
        return f"heads={self.free_alpha.shape[0]}"


def _entmax(logits: Tensor, edges: Edges, alpha: float | Tensor) -> Tensor:
    rows = edges.by_target
    return entmax(logits, rows.ptr, rows.order, alpha)


def _check(alpha: float | Tensor) -> None:
    if isinstance(alpha, Tensor):
        if not alpha.is_floating_point():
            raise TypeError(f"alpha must be floating point, got {alpha.dtype}")
        if alpha.ndim > 1:
            raise ValueError(f"alpha must be a number or (H,), got {tuple(alpha.shape)}")
        values = alpha.detach()
    elif isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise TypeError(f"alpha must be a number or a tensor, got {type(alpha).__name__}")
    else:
        values = torch.tensor(alpha, dtype=torch.float64)
    if not bool(((values > 1) & values.isfinite()).all()):
        raise ValueError(f"alpha must be finite and above 1, got {values.tolist()}")
