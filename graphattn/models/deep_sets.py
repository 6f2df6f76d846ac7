"""Deep sets: every element by itself, then their mean, sum or maximum, then the set."""

import itertools
from typing import Literal

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_dense_or_sets


class DeepSets(nn.Module):
    r"""A network on each element, pooling, a network on what was pooled: no element sees another.

    .. math::
        \mathrm{out} = \rho\bigl(\operatorname{pool}_i \phi(x_i)\bigr)

    Args:
        in_channels: Width of the elements.
        out_channels: Width of each output.
        num_outputs: Number of outputs for each set.
        channels: Width of the layers between.
        num_layers: Number of linear maps in each of the two networks, with ReLU between them.
        reduce: What is pooled: ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``.

    Shapes:
        - x: ``(B, N, in_channels)``, or with ``blocks`` ``(N, in_channels)``, set after set
        - output: ``(B, num_outputs, out_channels)``, with ``blocks`` one for each set; an empty set
          is pooled to zeros

    Raises:
        TypeError: If ``x`` is no floating-point tensor.
        ValueError: If a count is less than one, ``reduce`` is unknown, or a shape does not fit.

    Source: Zaheer et al., "Deep Sets", NeurIPS 2017, as the baseline in the code of Lee et al.,
        "Set Transformer", ICML 2019.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_outputs: int = 1,
        channels: int = 128,
        num_layers: int = 4,
        reduce: Literal["mean", "sum", "max", "min"] = "mean",
    ) -> None:
        super().__init__()
        if min(num_outputs, num_layers) < 1:
            raise ValueError(
                f"num_outputs and num_layers must be at least 1, got {num_outputs}, {num_layers}"
            )
        if reduce not in ("mean", "sum", "max", "min"):
            raise ValueError(f'reduce must be "mean", "sum", "max" or "min", got {reduce!r}')
        between = [channels] * (num_layers - 1)
        self.encoder = _layers([in_channels, *between, channels])
        self.decoder = _layers([channels, *between, num_outputs * out_channels])
        self.in_channels, self.num_outputs, self.reduce = in_channels, num_outputs, reduce

    def forward(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Reads sets; see the class for shapes."""
        check_dense_or_sets("x", x, self.in_channels, blocks)
        encoded = self.encoder(x)
        if blocks is None:
            num_sets, size = x.shape[:2]
            ptr = torch.arange(num_sets + 1, device=x.device) * size
            encoded = encoded.flatten(0, 1)
        else:
            ptr = blocks.target_ptr
        pooled = segment_reduce(encoded, ptr, self.reduce)  # (B, channels)
        output: Tensor = self.decoder(pooled).unflatten(-1, (self.num_outputs, -1))
        return output


def _layers(widths: list[int]) -> nn.Sequential:
    """Linear maps of these widths, with ReLU between them and none after the last."""
    maps = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
    between = itertools.chain.from_iterable((one, nn.ReLU()) for one in maps)
    return nn.Sequential(*list(between)[:-1])
