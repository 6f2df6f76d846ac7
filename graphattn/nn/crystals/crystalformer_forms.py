"""How products of atoms and sums over their images become weights of attention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.normalizers import Identity, Normalizer, Softmax

Function = Callable[..., Tensor]


def product(query: Tensor, key: Tensor) -> Tensor:
    """The dot product over the square root of the width; both ``(E, H, C)``, gives ``(E, H)``."""
    return (query * key).sum(-1) / query.shape[-1] ** 0.5


def score(query: Tensor, key: Tensor, alpha: Tensor) -> Tensor:
    """The product and what the images of the key say, ``(E, H)``."""
    return product(query, key) + alpha


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


def image_message(value: Tensor, beta: Tensor) -> Tensor:
    """The value and what the distances of the images say, ``(E, H, C)`` each."""
    return value + beta


def scaled_message(value: Tensor, alpha: Tensor) -> Tensor:
    """The value as often as there are images nearby."""
    return value * alpha.exp().unsqueeze(-1)


def scaled_image_message(value: Tensor, beta: Tensor, alpha: Tensor) -> Tensor:
    """The value and the term of the images, as often as there are images nearby."""
    return (value + beta) * alpha.exp().unsqueeze(-1)


class MappedScore(nn.Module):
    """A map of the product, as often as there are images nearby.

    Args:
        map: From products to weights of single images, each by itself.
    """

    def __init__(self, map: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.map = map

    def forward(self, query: Tensor, key: Tensor, alpha: Tensor) -> Tensor:
        """``(E, H)`` from ``(E, H, C)``, ``(E, H, C)`` and ``(E, H)``."""
        return self.map(product(query, key)) * alpha.exp()


@dataclass(frozen=True, eq=False)
class CrystalformerForm:
    r"""How products and sums over images become weights.

    Attributes:
        attend: The attention, of values and their terms.
        attend_simplified: The same of values alone.
        scales_messages: Whether the sum over images is in the messages and not in the weights.
        has_unit_sums: Whether outputs are divided by the mean sum of the weights in the first batch
            of training, which is kept with the weights. Until then, each batch is divided by its
            own.
    """

    attend: EdgeAttention
    attend_simplified: EdgeAttention
    scales_messages: bool = False
    has_unit_sums: bool = False

    @classmethod
    def of(cls, score: Function, normalizer: Normalizer, scales_messages: bool = False) -> Self:
        """A form from its score and its normalizer."""
        with_terms = scaled_image_message if scales_messages else image_message
        without = scaled_message if scales_messages else message
        roles: dict[str, Any] = {"target": ["query"], "normalizer": normalizer}
        source = ["key", "value"]
        return cls(
            EdgeAttention(score, with_terms, source=source, edge=["alpha", "beta"], **roles),
            EdgeAttention(score, without, source=source, edge=["alpha"], **roles),
            scales_messages,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # layers of one form share what was recorded


# A softmax over all images of all atoms: the paper.
IMAGE_SOFTMAX = CrystalformerForm.of(score, Softmax())
# A softmax over the atoms of a cell, each then counted as often as it has images nearby.
ATOM_SOFTMAX = CrystalformerForm.of(product, Softmax(), scales_messages=True)


def without_softmax(map: Callable[[Tensor], Tensor]) -> CrystalformerForm:
    r"""Weights that know nothing of one another.

    .. math::
        w_{ij} = f(q_i \cdot k_j / \sqrt C) \, e^{\alpha_{ij}}

    Args:
        map: :math:`f`, of each product by itself, such as ``torch.sigmoid``.

    Raises:
        ValueError: If ``map`` has parameters, which would be no layer's.
    """
    if isinstance(map, nn.Module) and next(map.parameters(), None) is not None:
        raise ValueError(f"map must be without parameters, got {map}")
    return CrystalformerForm.of(MappedScore(map), Identity())
