"""A virtual node: one latent of a graph that sums its nodes, and is added to each of them."""

from typing import Any

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_elements, check_sets
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.seeds import LearnedSeeds


class SummedElements(nn.Module):
    """The latent of a set, from the sum of its elements and itself: attention of equal weights.

    Args:
        network: From ``(S, channels)`` to the same.
        residual: Whether the latent is added to what comes out.
    """

    def __init__(self, network: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.network, self.residual = network, residual

    def forward(self, x: Tensor, y: Tensor, structure: Blocks, *_: Any) -> Tensor:
        """Of latents ``(S, channels)`` and elements ``(N, channels)``; positions mean nothing."""
        _check(structure, structure.num_targets, x, y)
        out: Tensor = self.network(segment_reduce(y, structure.source_ptr, "sum") + x)
        return x + out if self.residual else out


class AddedToElements(nn.Module):
    """Elements, each with the latent of its set added."""

    def forward(self, x: Tensor, y: Tensor, structure: Blocks, *_: Any) -> Tensor:
        """Of elements ``(N, channels)`` and latents ``(S, channels)``; positions mean nothing."""
        _check(structure, structure.num_sources, y, x)
        sizes = structure.target_ptr.diff()
        return x + y.repeat_interleave(sizes, dim=0, output_size=x.shape[0])


class VirtualNode(LatentLayer):
    r"""One node joined to all others of its graph, between layers of message passing.

    .. math::
        v \leftarrow [v +]\; \mathrm{MLP}\Bigl(\sum_{i} x_i + v\Bigr), \qquad x_i \leftarrow x_i + v

    It stands between two layers, and ``VirtualNode.start`` before the first::

        node, x = start(x, blocks)
        for conv, virtual_node in zip(convs, [*virtual_nodes, None]):
            x = conv(x, edge_index)
            if virtual_node is not None:
                node, x = virtual_node(x, blocks.seeds(1), node)

    Args:
        channels: Width of the nodes.
        network: The perceptron; if None, twice a linear map, batch norm and ReLU.
        residual: Whether the virtual node is added to its own update.

    Shapes: see ``LatentLayer``, without seeds and with one latent for each graph; positions mean
        nothing, since a sum has no queries and keys.

    Raises:
        TypeError: If an input is no floating-point tensor, or pairs are given.
        ValueError: If there is not one latent for each graph, or a shape does not fit.

    Source: Cai et al., "On the Connection Between MPNN and Graph Transformer", ICML 2023; widths
        are those of its code. It sums nodes after a layer; that of OGB before it.
    """

    def __init__(
        self, channels: int, network: nn.Module | None = None, residual: bool = False
    ) -> None:
        network = _perceptron(channels) if network is None else network
        super().__init__(read=[SummedElements(network, residual)], write=[AddedToElements()])
        self.channels = channels

    def forward(
        self, x: Tensor, blocks: Blocks, latents: Tensor | None = None, **others: Any
    ) -> tuple[Tensor, Tensor]:
        """Sums and adds; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_sources, self.channels)
        if latents is not None:
            check_elements("latents", latents, blocks.num_targets, self.channels)
        return super().forward(x, blocks, latents, **others)

    @staticmethod
    def start(channels: int) -> LatentLayer:
        """The virtual node before the first layer: the same for all graphs, zero until trained."""
        return LatentLayer(LearnedSeeds(1, channels, std=0.0), write=[AddedToElements()])


def _perceptron(channels: int) -> nn.Sequential:
    layers = [
        (nn.Linear(channels, channels), nn.BatchNorm1d(channels), nn.ReLU()) for _ in range(2)
    ]
    return nn.Sequential(*layers[0], *layers[1])


def _check(structure: Blocks, num_latents: int, latents: Tensor, elements: Tensor) -> None:
    if not isinstance(structure, Blocks):
        raise TypeError(f"a virtual node reads all of a graph, got {type(structure).__name__}")
    if num_latents != structure.num_sets:
        expected = structure.num_sets
        raise ValueError(f"there must be one latent for each of {expected} sets, got {num_latents}")
    if latents.shape[1:] != elements.shape[1:]:
        shapes = f"{tuple(latents.shape)} and {tuple(elements.shape)}"
        raise ValueError(f"latents and elements must be as wide, got {shapes}")
