"""Symbolic attention: names for elements out of a learned library."""

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.sets.dot_product import dot_product_attention


class SymbolicAttention(nn.Module):
    r"""Symbols for elements: a learned library, read by what the elements are.

    .. math::
        s_i = \big\Vert_h \textstyle\sum_k
        \operatorname{softmax}_k(W^h_q x_i \cdot f^h_k / \sqrt{C})\, \ell^h_k

    Args:
        channels: Width of the elements and symbols.
        heads: Number of heads; divides ``channels``.
        num_symbols: Size of the library.

    Shapes:
        - x: ``(N, channels)``
        - output: ``(N, channels)``

    Raises:
        TypeError: If ``x`` is no floating-point tensor.
        ValueError: If a shape does not fit, or ``heads`` does not divide ``channels``.

    Source: the symbols of Altabaa and Lafferty, "Disentangling and Integrating Relational and
        Sensory Information in Transformer Architectures", ICML 2025, and the authors' code.
    """

    def __init__(self, channels: int, heads: int, num_symbols: int) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.channels, self.heads = channels, heads
        self.query = nn.Linear(channels, channels)
        self.features = nn.Parameter(torch.empty(num_symbols, channels))
        self.library = nn.Parameter(torch.empty(num_symbols, channels))
        nn.init.normal_(self.features)
        nn.init.normal_(self.library)

    def forward(self, x: Tensor) -> Tensor:
        """Names; see the class for shapes."""
        check_elements("x", x, x.shape[0] if x.ndim else 0, self.channels)
        query, key, value = (
            part.unflatten(1, (self.heads, -1))
            for part in (self.query(x), self.features, self.library)
        )
        borders = (torch.tensor([0, len(part)], device=x.device) for part in (query, key))
        return dot_product_attention(Blocks.from_ptr(*borders), query, key, value).flatten(1)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}, num_symbols={len(self.library)}"
