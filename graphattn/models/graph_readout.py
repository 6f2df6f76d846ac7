"""From the nodes of graphs to an answer for each graph, in the unit of what is asked for."""

import itertools
from typing import Any, Literal

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_elements, check_sets


class GraphReadout(nn.Module):
    r"""Nodes of a graph pooled, and a perceptron that halves the width from layer to layer.

    .. math::
        \mathrm{out} = W_L \operatorname{ReLU}\bigl(\cdots W_1
        \operatorname{pool}_i x_i\bigr)

    Args:
        channels: Width of the nodes.
        out_channels: Width of the answers.
        reduce: What is pooled: ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``.
        num_layers: ``L``, number of linear maps; the last gives ``out_channels``.

    Shapes:
        - x: ``(N, channels)``, the nodes of all graphs one after another
        - blocks: the graphs
        - output: ``(G, out_channels)``; a graph without nodes is pooled to zeros

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If ``num_layers`` is less than one, ``channels`` cannot be halved as often,
            ``reduce`` is unknown, or a shape does not fit.

    Source: the mean and three maps of Dwivedi and Bresson, "A Generalization of Transformer
        Networks to Graphs", AAAI workshop 2021; with one map, that of OGB's baselines.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        reduce: Literal["mean", "sum", "max", "min"] = "mean",
        num_layers: int = 3,
    ) -> None:
        super().__init__()
        if num_layers < 1 or channels < 2 ** (num_layers - 1):
            raise ValueError(
                "num_layers must be at least 1, and channels not less than 2 ** (num_layers - 1),"
                f" got {num_layers} and {channels}"
            )
        if reduce not in ("mean", "sum", "max", "min"):
            raise ValueError(f'reduce must be "mean", "sum", "max" or "min", got {reduce!r}')
        self.channels, self.reduce = channels, reduce
        widths = [*(channels // 2**halved for halved in range(num_layers)), out_channels]
        maps = [nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        between = itertools.chain.from_iterable((one, nn.ReLU()) for one in maps)
        self.network = nn.Sequential(*list(between)[:-1])

    def forward(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Answers; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.channels)
        answer: Tensor = self.network(segment_reduce(x, blocks.target_ptr, self.reduce))
        return answer

    def extra_repr(self) -> str:
        return f"reduce={self.reduce!r}"


class Scaled(nn.Module):
    r"""A network whose answers are scaled to the unit of what they are to come close to.

    .. math::
        \mathrm{out} = \sigma \odot f(\mathrm{batch}) + \mu

    Mean and deviation are kept with the weights, and not trained.

    Args:
        network: From a batch to ``(G, T)``.
        mean: Of the targets to train on, ``(T,)``, in their unit.
        deviation: Their standard deviation, ``(T,)``.

    Shapes:
        - batch: what ``network`` takes
        - output: ``(G, T)``, in the type of ``mean``, also where the network runs in a lower one

    Raises:
        ValueError: If ``mean`` and ``deviation`` are no vectors of one length.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        if mean.ndim != 1 or mean.shape != deviation.shape:
            shapes = f"{tuple(mean.shape)} and {tuple(deviation.shape)}"
            raise ValueError(f"mean and deviation must be (T,), got {shapes}")
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, batch: Any) -> Tensor:
        """Answers; see the class for shapes."""
        answer: Tensor = self.network(batch).to(self.mean.dtype)
        return answer * self.deviation + self.mean
