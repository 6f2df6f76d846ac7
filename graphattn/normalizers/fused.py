"""Normalizers that run inside the kernels: a map of each logit by itself, and a sum."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.kernels.program import Reduction
from graphattn.normalizers.normalizer import Normalizer


class FusedNormalizer(Normalizer):
    r"""Weights that depend on the logit of the edge, and on the other edges by a sum at most.

    .. math::
        \alpha_{ij} = f(s_{ij}) \quad\text{or}\quad
        \alpha_{ij} = \frac{f(s_{ij})}{\epsilon + \sum_{k \to i} f(s_{ik})}

    A normalizer of one's own subclasses this one and overrides ``map``, an ordinary PyTorch
    function that is recorded with the score; with ``divides = True`` its values are divided by
    their sum over the edges into the target. A target whose sum is zero has weights of zero.

    >>> class SquaredReLU(FusedNormalizer):
    ...     divides = True
    ...     def map(self, logits):  # (E, H)
    ...         return logits.relu().square()

    What ``map`` needs besides the logits are parameters of its own, which ``inputs`` provides.
    """

    divides: ClassVar[bool] = False
    epsilon: float = 0.0

    def map(self, logits: Tensor) -> Tensor:
        """``(E, H)`` from logits of the same shape, each by itself."""
        raise NotImplementedError(f"{type(self).__name__} must override map(logits)")

    def inputs(self, edges: Edges | Blocks) -> dict[str, tuple[str, Tensor]]:
        """Further parameters of ``map``: role and tensor, by name.

        The role says which row an edge sees, as in ``EdgeAttention``: ``"target"``, ``"source"``,
        ``"edge"``, or ``"shared"``.
        """
        return {}

    @property
    def reduction(self) -> Reduction:
        """What the kernels do with the values of ``map``."""
        return "sum" if self.divides else "none"

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        given = {name: tensor for name, (_, tensor) in self.inputs(edges).items()}
        return self.weights(logits, edges, given)

    def weights(self, logits: Tensor, edges: Edges, inputs: Mapping[str, Tensor]) -> Tensor:
        """Weights in plain PyTorch, from the tensors of ``inputs``."""
        roles = {name: role for name, (role, _) in self.inputs(edges).items()}
        at_edges = reference.gather(inputs, roles, edges.source, edges.target)
        weights = self.map(logits, **at_edges)
        if not self.divides:
            return weights
        wide = weights.to(torch.promote_types(weights.dtype, torch.float32))
        total = reference.segment_sum(wide, edges.target, edges.num_targets) + self.epsilon
        total = total.masked_fill(total == 0, 1)
        return (wide / total.index_select(0, edges.target)).to(weights.dtype)


def is_fused(normalizer: Normalizer) -> bool:
    """Whether kernels can do what a normalizer does: not if a subclass does it in another way."""
    if not isinstance(normalizer, FusedNormalizer):
        return False
    own = type(normalizer)
    return own.forward is FusedNormalizer.forward and (
        own.weights is FusedNormalizer.weights or normalizer.reduction == "softmax"
    )
