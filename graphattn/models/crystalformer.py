"""Crystalformer: from the atoms of a cell to a property of the infinite crystal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention, CrystalformerLayer
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_terms import RealSpace
from graphattn.nn.elements import check_floating


@dataclass(frozen=True)
class CrystalformerSizes:
    """How large the parts of a Crystalformer are; as they stand, those of the paper.

    Attributes:
        channels: Width of the atoms.
        heads: Number of heads; divides ``channels``.
        num_layers: Number of layers.
        hidden_channels: Width inside the perceptron of a layer.
        readout_channels: Width inside the perceptron that answers.
        num_elements: Atomic numbers run from 1 to this.
    """

    channels: int = 128
    heads: int = 8
    num_layers: int = 4
    hidden_channels: int = 512
    readout_channels: int = 128
    num_elements: int = 98


def paper_attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
    """The attention of one layer of the paper's model: sums over images in real space."""
    return CrystalformerAttention(sizes.channels, sizes.heads)


def simplified_attention(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
    """The same of the simplified model, whose values know no distances."""
    terms = RealSpace(sizes.heads, sizes.channels // sizes.heads, radial=None)
    return CrystalformerAttention(sizes.channels, sizes.heads, terms)


class Crystalformer(nn.Module):
    r"""Layers of attention over infinite crystals, pooling over the atoms, and a perceptron.

    .. math::
        \mathrm{out} = W_2 \operatorname{ReLU}\bigl(W_1 \operatorname{pool}_i x_i\bigr)

    There is no norm in it; the weights begin small enough to do without (T-Fixup). Its answers do
    not change with the origin, the orientation, the order of the atoms or the choice of the cell,
    and with means as ``pool`` not with its size either, once the first batch of training has
    settled the widths, see ``FirstBatchStandardized``.

    Args:
        out_channels: How many properties there are.
        sizes: Of the parts; those of the paper by default, with 853,505 parameters.
        attention: Makes the attention of a layer from the sizes and the number of the layer:
            ``paper_attention``, ``simplified_attention``, or a function of one's own, such as one
            with a ``ReciprocalSpace`` in every second layer.
        pool: ``"mean"`` for properties that do not grow with the cell, such as those per atom,
            ``"sum"`` for those that do, or ``"max"``.
        dropout: Probability with which a feature is set to zero in training; see
            ``CrystalformerLayer``.

    Shapes:
        - numbers: atomic numbers, ``(N,)``, int64
        - position: Cartesian coordinates, ``(N, 3)``, in Å
        - lattice: lattice vectors as rows, ``(S, 3, 3)``, in Å
        - ptr: crystal ``s`` has the atoms ``ptr[s]:ptr[s + 1]``; ``(S + 1,)``, int64. Without it
          ``batch``, the crystal of each atom, ``(N,)``, int64, not falling; without both, there is
          one crystal.
        - output: ``(S, out_channels)``; a crystal without atoms is pooled to zeros. With
          ``return_weights`` also a list of the attention of each layer, ``(P, heads)``, in the
          order of the pairs of ``Blocks``, each of all images of an atom together.

    Raises:
        TypeError: If ``numbers`` is not int64, or a coordinate not floating point.
        ValueError: If a shape does not fit, a size is no positive number, ``heads`` does not divide
            ``channels``, ``pool`` is unknown, or a crystal has no volume or too many images.
        IndexError: On a CPU, if an atomic number lies outside of 1 to ``num_elements``.

    Source: Taniai et al., "Crystalformer: Infinitely Connected Attention for Periodic Structure
        Encoding", ICLR 2024; the initial weights are Huang et al., "Improving Transformer
        Optimization Through Better Initialization", ICML 2020, as its code has them. See
        ``CrystalformerAttention`` for what differs.
    """

    def __init__(
        self,
        out_channels: int = 1,
        sizes: CrystalformerSizes = CrystalformerSizes(),
        attention: Callable[[CrystalformerSizes, int], CrystalformerAttention] = paper_attention,
        pool: Literal["mean", "sum", "max"] = "mean",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(vars(sizes).values()) < 1:
            raise ValueError(f"sizes must be positive, got {sizes}")
        if pool not in ("mean", "sum", "max"):
            raise ValueError(f'pool must be "mean", "sum" or "max", got {pool!r}')
        self.pool: Literal["mean", "sum", "max"] = pool
        channels, depth = sizes.channels, sizes.num_layers
        self.embedding = nn.Embedding(sizes.num_elements, channels)
        nn.init.normal_(self.embedding.weight, std=channels**-0.5 * (9 * depth) ** -0.25)
        self.layers = nn.ModuleList()
        for number in range(depth):
            own = attention(sizes, number)
            layer = CrystalformerLayer(own, channels, sizes.hidden_channels, dropout)
            layer.scale_weights(0.67 * depth**-0.25)
            self.layers.append(layer)
        self.readout = nn.Sequential(
            nn.Linear(channels, sizes.readout_channels),
            nn.ReLU(),
            nn.Linear(sizes.readout_channels, out_channels),
        )

    def forward(
        self,
        numbers: Tensor,
        position: Tensor,
        lattice: Tensor,
        ptr: Tensor | None = None,
        *,
        batch: Tensor | None = None,
        return_weights: bool = False,
    ) -> Any:
        """Answers; see the class for shapes."""
        check_floating("position", position)
        check_floating("lattice", lattice)
        if not isinstance(numbers, Tensor) or numbers.dtype != torch.int64:
            got = numbers.dtype if isinstance(numbers, Tensor) else type(numbers).__name__
            raise TypeError(f"numbers must be an int64 tensor, got {got}")
        if numbers.shape != position.shape[:1]:
            raise ValueError(f"numbers must be (N,), got {tuple(numbers.shape)}")
        x = self.embedding(numbers - 1)
        blocks = _blocks(len(numbers), lattice, ptr, batch)
        # In the digits of the weights, as sums in float64 take twice as long; but never in fewer
        # than float32, which would move the atoms.
        wide = torch.promote_types(x.dtype, torch.float32)
        crystals = Crystals(position.to(wide), lattice.to(wide), blocks)
        weights = []
        for layer in self.layers:
            x = layer(x, crystals, return_weights=return_weights)
            if return_weights:
                x, own = x
                weights.append(own)
        answer = self.readout(segment_reduce(x, crystals.ptr, self.pool))
        return (answer, weights) if return_weights else answer

    def extra_repr(self) -> str:
        return f"pool={self.pool!r}"


def _blocks(num_atoms: int, lattice: Tensor, ptr: Tensor | None, batch: Tensor | None) -> Blocks:
    if ptr is not None and batch is not None:
        raise ValueError("ptr and batch say the same: give one of them")
    if batch is not None:
        return Blocks.from_batch(batch, num_sets=lattice.shape[0])
    if ptr is None:
        ptr = torch.tensor([0, num_atoms], device=lattice.device)
    return Blocks.from_ptr(ptr)
