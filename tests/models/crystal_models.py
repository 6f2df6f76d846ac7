"""Small Crystalformers that have settled, and crystals for them."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.kernels.lattice_sum.cases import crystals
from graphattn.models.crystalformer import (
    Crystalformer,
    CrystalformerSizes,
    paper_attention,
    simplified_attention,
)
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention
from graphattn.nn.crystals.lattice_terms import RealSpace, ReciprocalSpace

SMALL = CrystalformerSizes(8, 2, 2, hidden_channels=12, readout_channels=6)
ASSORTED = ("left-handed", "skewed", "one atom", "long")


def atoms(*names: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Numbers, positions, lattices and ``ptr``."""
    position, lattice, ptr = crystals(*names, dtype=dtype)
    return torch.randint(1, 10, (len(position),)), position, lattice, ptr


def settled(*, dtype: torch.dtype = torch.float64, **options: Any) -> Crystalformer:
    """A model whose weights are of account, after its first batch of training."""
    model = Crystalformer(2, SMALL, **options).to(dtype)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    model(*atoms(*ASSORTED, dtype=dtype))
    return model.eval()


def with_waves(sizes: CrystalformerSizes, layer: int) -> CrystalformerAttention:
    """Every second layer sums over waves."""
    terms = RealSpace(sizes.heads, sizes.channels // sizes.heads)
    return CrystalformerAttention(
        sizes.channels, sizes.heads, ReciprocalSpace() if layer % 2 else terms
    )


ATTENTIONS = {"paper": paper_attention, "simplified": simplified_attention, "waves": with_waves}
