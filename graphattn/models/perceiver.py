"""Perceiver and Perceiver IO: networks whose cost is linear in the number of their inputs."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_sets
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock
from graphattn.nn.latents.seeds import Seeds


class PerceiverEncoder(nn.Module):
    """Latents that read the elements of a set, layer after layer.

    Give one layer several times to tie its weights; in the paper all but the first are one::

        first, later = PerceiverLayer(261, 1024), PerceiverLayer(261, 1024)
        encoder = PerceiverEncoder(LearnedSeeds(512, 1024), [first, *[later] * 7])

    Args:
        seeds: Where the latents start from.
        layers: Without seeds of their own, such as ``PerceiverLayer``.

    Shapes:
        - x: ``(N, channels)``: the features of the elements, their positions among them, such as
          ``fourier_features``. Padding is taken out before, by ``from_padded``.
        - blocks: the elements are its keys
        - previous: latents of a step before, for ``CarriedSeeds``
        - output: ``(S * seeds.count, latent_channels)``, set by set

    Raises:
        ValueError: If there are no layers, one has seeds, or a shape does not fit.

    Source: Jaegle et al., "Perceiver: General Perception with Iterative Attention", ICML 2021.
    """

    def __init__(self, seeds: Seeds, layers: Iterable[LatentLayer]) -> None:
        super().__init__()
        given = list(layers)
        if not given or any(layer.seeds is not None for layer in given):
            raise ValueError("layers must be there, and have no seeds: the encoder has them")
        self.seeds, self.layers = seeds, nn.ModuleList(given)

    def forward(self, x: Tensor, blocks: Blocks, previous: Tensor | None = None) -> Tensor:
        """Encodes; see the class for shapes."""
        check_sets(blocks)
        latents: Tensor = self.seeds(x, blocks, previous)
        read = blocks.transposed().seeds(self.seeds.count)
        for layer in self.layers:
            latents, x = layer(x, read, latents)
        return latents

    def attention_weights(
        self, x: Tensor, blocks: Blocks, previous: Tensor | None = None
    ) -> list[Tensor]:
        """How much each latent reads of each element, reading by reading.

        Args:
            x: As in ``forward``.
            blocks: As in ``forward``.
            previous: As in ``forward``.

        Returns:
            For each reading one row for each pair of ``blocks.transposed().seeds(seeds.count)``,
            ``(P, heads)``, before dropout. They sum to one over the elements.
        """
        found: list[Tensor] = []

        def note(block: Any, given: tuple[Any, ...]) -> None:
            found.append(block.attention_weights(*given))

        layers: Any = self.layers
        parts = {part for layer in layers for part in layer.read}  # a tied one stands there twice
        readers = [part for part in parts if isinstance(part, CrossAttentionBlock)]
        hooks = [part.register_forward_pre_hook(note) for part in readers]
        try:
            self(x, blocks, previous)
        finally:
            for hook in hooks:
                hook.remove()
        return found


class Perceiver(nn.Module):
    """One result for each set: a linear map of the mean of its latents.

    Args:
        encoder: Gives the latents.
        latent_channels: Width of the latents.
        out_channels: Width of the result.

    Shapes:
        - x: ``(N, channels)``
        - blocks: the elements are its keys
        - output: ``(S, out_channels)``; an empty set gives what the latents are without reading

    Raises:
        ValueError: If a shape does not fit.

    Source: see ``PerceiverEncoder``.
    """

    def __init__(self, encoder: PerceiverEncoder, latent_channels: int, out_channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(latent_channels, out_channels)

    def forward(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Encodes and averages; see the class for shapes."""
        latents = self.encoder(x, blocks)
        by_set = latents.unflatten(0, (blocks.num_sets, self.encoder.seeds.count))
        out: Tensor = self.head(by_set.mean(dim=1))
        return out


class PerceiverIO(nn.Module):
    """As many results for each set as it has queries, which read its latents.

    Args:
        encoder: Gives the latents.
        decoder: Attention of queries over latents; in the paper, with norms and a perceptron, and
            without a residual where queries are only positions:
            ``CrossAttentionBlock.prenorm(attention, hidden, residual=False)``.
        head: From the width of the queries to that of the results; nothing if None.

    Shapes:
        - x: ``(N, channels)``
        - queries: ``(M, query_channels)``: what is asked for, such as positions or classes
        - blocks: ``queries`` are its queries and the elements its keys
        - output: ``(M, out_channels)``

    Raises:
        TypeError: If an input is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.

    Source: Jaegle et al., "Perceiver IO: A General Architecture for Structured Inputs & Outputs",
        ICLR 2022.
    """

    def __init__(
        self,
        encoder: PerceiverEncoder,
        decoder: CrossAttentionBlock,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.head = nn.Identity() if head is None else head

    def forward(self, x: Tensor, queries: Tensor, blocks: Blocks) -> Tensor:
        """Encodes and answers; see the class for shapes."""
        latents = self.encoder(x, blocks)
        of_latents = blocks.seeds(self.encoder.seeds.count)  # latents, over the queries
        read = of_latents.transposed()
        self.decoder.attention.check(queries, latents, read, names=("queries", "latents"))
        out: Tensor = self.head(self.decoder(queries, latents, read))
        return out
