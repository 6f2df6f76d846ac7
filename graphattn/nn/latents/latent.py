"""The one latent layer: a few latents read a set, compute among themselves, and write back."""

from collections.abc import Iterable

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.nn.elements import check_floating, check_sets
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.latents.seeds import Seeds


class LatentLayer(nn.Module):
    r"""Latents of a set that read its elements, attend to one another, and write to the elements.

    .. math::
        z \leftarrow \mathrm{read}(z, x), \qquad
        z \leftarrow \mathrm{compute}(z), \qquad
        x \leftarrow \mathrm{write}(x, z)

    Each of the three is as many blocks as given, one after another, and may be none. Weights are
    tied by ``steps``, or by giving one block several times. The cost is linear in the number of
    elements: with ``n`` of them and ``k`` latents, ``n k`` pairs to read and to write and ``k²`` to
    compute.

    Virtual nodes, Perceiver, RIN, LUNA and AGILE3D are this layer with their own blocks.

    Args:
        seeds: Where latents come from: learned, pooled from the elements, or carried over from the
            step before (``graphattn.nn.latents.seeds``). None takes them as they are given to
            ``forward``.
        read: Blocks called with latents, elements, structure, and the positions of both.
        compute: Blocks called with latents, structure, and their positions.
        write: Blocks called with elements, latents, structure, and the positions of both.
        steps: How often all of it is done, with the same weights.

    Shapes:
        - x: the elements, ``(N, channels)``
        - blocks: the elements are its keys. Without ``seeds`` the latents are its queries, so that
          sets may have latents of different number; else its queries are of no concern
        - latents: ``(L, latent_channels)``; with ``seeds``, those of the step before, if any
        - position, latent_position: what is added to the elements and to the latents as queries and
          keys, and not as values; as these
        - pairs: the elements that each latent may read, if not all of its set: edges from elements
          to latents
        - output: latents and elements, as they came; a latent of an empty set reads nothing

    Raises:
        TypeError: If elements or latents are no floating-point tensor, ``blocks`` no ``Blocks``, or
            ``pairs`` no ``Edges``.
        ValueError: If there is no block, or neither seeds nor latents, or a shape does not fit.
    """

    def __init__(
        self,
        seeds: Seeds | None = None,
        read: Iterable[nn.Module] = (),
        compute: Iterable[nn.Module] = (),
        write: Iterable[nn.Module] = (),
        steps: int = 1,
    ) -> None:
        super().__init__()
        self.seeds, self.steps = seeds, steps
        self.read, self.compute = nn.ModuleList(read), nn.ModuleList(compute)
        self.write = nn.ModuleList(write)
        if steps < 1:
            raise ValueError(f"steps must be positive, got {steps}")
        if not (len(self.read) or len(self.compute) or len(self.write)):
            raise ValueError("a latent layer must have blocks to read, compute or write, got none")

    def forward(
        self,
        x: Tensor,
        blocks: Blocks,
        latents: Tensor | None = None,
        *,
        position: Tensor | None = None,
        latent_position: Tensor | None = None,
        pairs: Edges | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Reads, computes, writes; see the class for shapes."""
        check_sets(blocks)
        check_floating("x", x)
        if x.ndim != 2 or x.shape[0] != blocks.num_sources:
            raise ValueError(f"x must be ({blocks.num_sources}, channels), got {tuple(x.shape)}")
        latents, of_latents = self._started(x, blocks, latents)
        structure = of_latents if pairs is None else _checked(pairs, of_latents)
        own, back = of_latents.among_targets(), of_latents.transposed()
        _check_widths(self.read, latents, x, structure, ("latents", "x"))
        _check_widths(self.compute, latents, latents, own, ("latents", "latents"))
        _check_widths(self.write, x, latents, back, ("x", "latents"))
        for _ in range(self.steps):
            for block in self.read:
                latents = block(latents, x, structure, latent_position, position)
            for block in self.compute:
                latents = block(latents, own, latent_position)
            for block in self.write:
                x = block(x, latents, back, position, latent_position)
        return latents, x

    def _started(self, x: Tensor, blocks: Blocks, latents: Tensor | None) -> tuple[Tensor, Blocks]:
        """The latents to begin with, and the structure in which they are the queries."""
        if self.seeds is not None:
            made: Tensor = self.seeds(x, blocks, latents)
            return made, blocks.transposed().seeds(self.seeds.count)
        if latents is None:
            raise ValueError("latents must be given to a layer without seeds, got None")
        check_floating("latents", latents)
        if latents.ndim != 2 or latents.shape[0] != blocks.num_targets:
            expected = f"({blocks.num_targets}, latent_channels), one for each query of blocks"
            raise ValueError(f"latents must be {expected}, got {tuple(latents.shape)}")
        return latents, blocks


def _check_widths(
    blocks: nn.ModuleList,
    query: Tensor,
    key: Tensor,
    structure: Blocks | Edges,
    names: tuple[str, str],
) -> None:
    """Has blocks of attention check what they will get, which they would name in their own way."""
    for block in blocks:
        if isinstance(block, CrossAttentionBlock | SelfAttentionBlock):
            block.attention.check(query, key, structure, names)


def _checked(pairs: Edges, blocks: Blocks) -> Edges:
    if not isinstance(pairs, Edges):
        raise TypeError(f"pairs must be graphattn.Edges, got {type(pairs).__name__}")
    sizes = (pairs.num_sources, pairs.num_targets)
    if sizes != (blocks.num_sources, blocks.num_targets):
        raise ValueError(
            f"pairs must run from {blocks.num_sources} elements to {blocks.num_targets} latents,"
            f" got {sizes[0]} and {sizes[1]}"
        )
    return pairs
