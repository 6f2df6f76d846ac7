"""Attention of each atom over all atoms of an infinite crystal, and the layer around it."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.dropout import kept_factor
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.crystals.crystalformer_forms import IMAGE_SOFTMAX, CrystalformerForm
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.gaussian_widths import FirstBatchStandardized, QueryWidth
from graphattn.nn.crystals.lattice_terms import RealSpace
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.feature_dropout import FeatureDropout


class CrystalformerAttention(nn.Module):
    r"""Attention of each atom of a cell over all atoms of the infinite crystal.

    .. math::
        \mathrm{out}_i = W_o \big\Vert_h \frac{1}{Z_i} \sum_{j} \exp\bigl(q_i \cdot k_j / \sqrt C
        + \alpha_{ij}\bigr) (v_j + \beta_{ij})

    Images of an atom have one key and one value, and differ in their distance alone. What sets them
    apart is summed up in :math:`\alpha` and :math:`\beta`, see ``RealSpace``, with Gaussians whose
    width each atom and head choose. Cells are periodic: nothing depends on where the origin is, how
    the crystal is turned, or by which vectors the lattice is given.

    Args:
        channels: Width of the atoms.
        heads: Number of heads; divides ``channels``.
        terms: From what atoms chose, ``(N, heads)``, and the crystals to :math:`\alpha` and
            :math:`\beta`; ``RealSpace(heads, channels // heads)`` without it. ``ReciprocalSpace``,
            ``HeadGroups`` and ``WaveSpace`` are others.
        width: From atoms and queries to what an atom chooses, ``(N, heads)``; without it a
            ``FirstBatchStandardized`` ``QueryWidth``, whose state is part of the layer's.
        form: How weights are made: ``IMAGE_SOFTMAX``, ``ATOM_SOFTMAX`` or ``without_softmax``.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``, the atoms of all crystals one after another
        - crystals: ``S`` crystals of ``N`` atoms, with ``P`` pairs
        - output: ``(N, channels)``; with ``return_weights`` also the weights, ``(P, heads)``, in
          the order of ``crystals.blocks``, each of all images of an atom together

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``crystals`` no ``Crystals``.
        ValueError: If ``heads`` does not divide ``channels``, ``dropout`` is no probability, a
            shape does not fit, or a crystal has no volume or too many images.

    Source: Taniai et al., "Crystalformer: Infinitely Connected Attention for Periodic Structure
        Encoding", ICLR 2024; its code has a term of waves too, see ``WaveSpace``. The official sums
        leave out more: images beyond a fixed number of cells, or beyond 3.5 widths. That code
        cannot train in the first batch of a form with unit sums.
    """

    output_scale: Tensor

    def __init__(
        self,
        channels: int,
        heads: int = 8,
        terms: nn.Module | None = None,
        width: nn.Module | None = None,
        form: CrystalformerForm = IMAGE_SOFTMAX,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        self.channels, self.heads, self.form, self.dropout = channels, heads, form, dropout
        self.lin_query, self.lin_key, self.lin_value, self.lin_out = (
            xavier_linear(channels, channels) for _ in range(4)
        )
        if width is None:
            width = FirstBatchStandardized(QueryWidth(heads, channels // heads))
        self.width = width
        self.terms = RealSpace(heads, channels // heads) if terms is None else terms
        if form.has_unit_sums:
            self.register_buffer("output_scale", torch.zeros(()))

    def forward(self, x: Tensor, crystals: Crystals, return_weights: bool = False) -> Any:
        """Attends; see the class for shapes."""
        check_crystals(crystals)
        check_elements("x", x, crystals.blocks.num_targets, self.channels)
        query, key, value = (
            linear(x).unflatten(1, (self.heads, -1))
            for linear in (self.lin_query, self.lin_key, self.lin_value)
        )
        alpha, beta = self.terms(self.width(x, query), crystals)
        # Coordinates may have more digits than atoms, but need not make these wider.
        alpha = alpha.to(torch.promote_types(query.dtype, torch.float32))
        inputs = {"query": query, "key": key, "value": value, "alpha": alpha}
        attend = self.form.attend_simplified
        if beta is not None:
            attend, inputs["beta"] = self.form.attend, beta.to(alpha.dtype)
        dropout = self.dropout if self.training else 0.0
        needs_weights = return_weights or self.form.has_unit_sums
        attended = attend(crystals.blocks, dropout=dropout, return_weights=needs_weights, **inputs)
        if not needs_weights:
            return self.lin_out(attended.flatten(1).to(x.dtype))
        out, weights = attended
        if self.form.scales_messages:
            weights = weights * alpha.exp()
        if self.form.has_unit_sums:
            out = out * self._scale(weights.detach(), crystals).to(out.dtype)
        out = self.lin_out(out.flatten(1).to(x.dtype))
        return (out, weights) if return_weights else out

    def _scale(self, weights: Tensor, crystals: Crystals) -> Tensor:
        sums = segment_reduce(weights.abs(), crystals.blocks.by_target.ptr, "sum")  # (N, heads)
        of_crystals = segment_reduce(sums, crystals.ptr, "mean").mean(1)
        count = (crystals.ptr.diff() > 0).sum()  # a crystal without atoms has no mean
        scale = (count / of_crystals.sum()).to(self.output_scale.dtype)
        is_usable = scale.isfinite() & (scale > 0)
        scale = torch.where(self.output_scale > 0, self.output_scale, scale.where(is_usable, 0))
        if self.training:
            self.output_scale.copy_(scale)
        return scale.where(scale > 0, 1)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}"


class CrystalformerLayer(nn.Module):
    r"""Attention over the crystal and a perceptron, each added to the atom, without any norm.

    .. math::
        h_i = x_i + \mathrm{Attention}(x)_i, \qquad
        x_i' = h_i + W_2 \operatorname{ReLU}(W_1 h_i)

    Args:
        attention: The attention, of atoms as wide as ``channels``.
        channels: Width of the atoms.
        hidden_channels: Width inside the perceptron; four times ``channels`` without it.
        dropout: Probability with which a feature is set to zero in training, of what is added and
            inside the perceptron.

    Shapes: see ``CrystalformerAttention``

    Raises:
        TypeError: See ``CrystalformerAttention``.
        ValueError: Likewise.

    Source: see ``CrystalformerAttention``. Deep networks of it need the weights of
        ``scale_weights``.
    """

    def __init__(
        self,
        attention: CrystalformerAttention,
        channels: int,
        hidden_channels: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        hidden_channels = 4 * channels if hidden_channels is None else hidden_channels
        self.attention = attention
        self.lin_in = xavier_linear(channels, hidden_channels)
        self.lin_out = xavier_linear(hidden_channels, channels)
        self.dropout = FeatureDropout(dropout)

    def forward(self, x: Tensor, crystals: Crystals, return_weights: bool = False) -> Any:
        """Applies the layer; see the class for shapes."""
        attended = self.attention(x, crystals, return_weights=return_weights)
        attended, weights = attended if return_weights else (attended, None)
        x = x + self.dropout(attended)
        x = x + self.dropout(self.lin_out(self.dropout(self.lin_in(x).relu())))
        return (x, weights) if return_weights else x

    @torch.no_grad()
    def scale_weights(self, factor: float) -> None:
        """Makes what the layer adds smaller, once: the maps of values, and all maps behind these.

        Args:
            factor: What the weights are multiplied by.
        """
        for linear in (self.attention.lin_value, self.attention.lin_out, self.lin_in, self.lin_out):
            linear.weight.mul_(factor)


def xavier_linear(in_channels: int, out_channels: int) -> nn.Linear:
    """A linear map with Xavier's uniform weights, and a bias of zero."""
    linear = nn.Linear(in_channels, out_channels)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def check_crystals(crystals: Crystals) -> None:
    """Refuses what is no ``Crystals``, with a TypeError."""
    if not isinstance(crystals, Crystals):
        raise TypeError(f"crystals must be a Crystals, got {type(crystals).__name__}")
