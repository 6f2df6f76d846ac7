"""ACMIL: bags seen by several attentions, which in training must not agree nor dwell on a few."""

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.nn.elements import check_elements, check_sets
from graphattn.nn.sets.gated_attention_pooling import GatedAttentionPooling


def keep_at_random(
    logits: Tensor, blocks: Blocks, top: int, drop: float, generator: torch.Generator | None = None
) -> Tensor:
    """Which instances count when some of the highest logits of every bag are left out by chance.

    In each bag and branch, of the ``k = min(top, size of the bag)`` instances with the highest
    logits, ``floor(k * drop)`` are drawn to be left out.

    Args:
        logits: Of ``N`` instances in ``H`` branches, ``(N, H)``, floating point.
        blocks: ``S`` bags of ``N`` instances.
        top: Number of instances to draw from.
        drop: Fraction of them to leave out, from 0 to 1.
        generator: Draws; PyTorch's own if left out.

    Returns:
        One where an instance counts, zero where not, ``(N, H)``, in the element type of the logits.

    Raises:
        ValueError: If ``top`` is negative, ``drop`` no fraction, or a shape does not fit.

    Source: stochastic top-K instance masking of Zhang et al., "Attention-Challenging Multiple
        Instance Learning for Whole Slide Image Classification", ECCV 2024.
    """
    check_sets(blocks)
    check_elements("logits", logits, blocks.num_targets, logits.shape[-1] if logits.ndim else 0)
    if top < 0 or not 0 <= drop <= 1:
        raise ValueError(f"top must be 0 or more and drop in [0, 1], got {top} and {drop}")
    ptr = blocks.target_ptr
    bag = torch.arange(blocks.num_sets, device=logits.device)
    bag = bag.repeat_interleave(ptr.diff(), output_size=len(logits))
    num_top = ptr.diff().clamp(max=top)[bag].unsqueeze(1)  # (N, 1)
    is_top = _rank(-logits.detach(), bag, ptr) < num_top
    chance = torch.rand(logits.shape, generator=generator, device=logits.device)
    drawn = _rank(chance.masked_fill(~is_top, 2.0), bag, ptr)  # those at the top come first
    return (drawn >= (num_top * drop).floor()).to(logits.dtype)


def _rank(value: Tensor, bag: Tensor, ptr: Tensor) -> Tensor:
    """How many of its bag come before each instance, by value: ``(N, H)``, int64."""
    order = value.argsort(dim=0, stable=True)
    order = order.gather(0, bag[order].argsort(dim=0, stable=True))  # bag by bag
    place = torch.arange(len(value), device=value.device) - ptr[bag]  # in every bag from 0
    return torch.empty_like(order).scatter_(0, order, place.unsqueeze(1).expand_as(order))


def branch_similarity(weights: Tensor, blocks: Blocks) -> Tensor:
    """How alike the branches' weights are: the mean cosine over pairs of branches and bags.

    Args:
        weights: Of ``N`` instances in ``H`` branches, ``(N, H)``, floating point.
        blocks: ``S`` bags of ``N`` instances.

    Returns:
        A scalar, to be made small in training. An empty bag counts as 0; so does one branch alone.

    Raises:
        ValueError: If a shape does not fit.

    Source: the diversity loss of Zhang et al., see ``ACMIL``; there with one bag a call.
    """
    check_sets(blocks)
    check_elements("weights", weights, blocks.num_targets, weights.shape[-1] if weights.ndim else 0)
    num_branches = weights.shape[1]
    if num_branches < 2 or blocks.num_sets == 0:
        return weights.sum() * 0
    first, second = torch.triu_indices(num_branches, num_branches, 1, device=weights.device)
    pairs = segment_reduce(weights[:, first] * weights[:, second], blocks.target_ptr)  # (S, pairs)
    squares = segment_reduce(weights.square(), blocks.target_ptr)  # (S, H)
    # As in F.cosine_similarity: no bag, however large or empty, divides by zero.
    norms = (squares[:, first] * squares[:, second]).clamp(min=1e-16).sqrt()
    return (pairs / norms).mean()


class ACMIL(nn.Module):
    r"""Classifies bags by several gated attentions, by each of them and by their mean.

    .. math::
        h = \mathrm{ReLU}(W x), \quad z^m_s = \textstyle\sum_{j \in s} \alpha^m_j h_j, \quad
        y^m_s = C_m z^m_s, \quad y_s = C \, \tfrac{1}{M} \textstyle\sum_m z^m_s

    In training, ``keep_at_random`` leaves out some instances of high weight. The loss of the
    authors is the cross-entropy of ``y`` and of every ``y^m`` plus ``branch_similarity``.

    Args:
        in_channels: Width of the instances.
        channels: Width of ``h``.
        attention_channels: Width inside of the gated attention.
        num_classes: Number of classes.
        branches: Number ``M`` of attentions.
        masking: Of how many of the highest instances which fraction is left out in training.

    Shapes:
        - x: ``(N, in_channels)``, the instances of all bags one after another
        - blocks: ``S`` bags of ``N`` instances
        - output: logits of the bags ``(S, num_classes)``, of every branch
          ``(S, branches, num_classes)``, and the weights and logits of the attention,
          ``(N, branches)`` each. An empty bag gets the biases of the classifiers.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.

    Source: Zhang et al., "Attention-Challenging Multiple Instance Learning for Whole Slide Image
        Classification", ECCV 2024, and the authors' code (``ACMIL_GA``).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        attention_channels: int,
        num_classes: int,
        branches: int = 5,
        masking: tuple[int, float] = (10, 0.6),
    ) -> None:
        super().__init__()
        self.in_channels, self.masking = in_channels, masking
        self.reduction = nn.Linear(in_channels, channels, bias=False)
        self.pooling = GatedAttentionPooling(channels, attention_channels, branches)
        self.branch_classifiers = nn.ModuleList(
            nn.Linear(channels, num_classes) for _ in range(branches)
        )
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Classifies; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.in_channels)
        x = self.reduction(x).relu()
        keep = None
        if self.training and self.masking[0] > 0:
            with torch.no_grad():
                _, logits = self.pooling(x, blocks, return_logits=True)
            keep = keep_at_random(logits, blocks, *self.masking)
        pooled, weights, logits = self.pooling(
            x, blocks, keep, return_weights=True, return_logits=True
        )
        bag = self.classifier(pooled.mean(1))
        return bag, apply_each(self.branch_classifiers, pooled), weights, logits


def apply_each(classifiers: nn.ModuleList, pooled: Tensor) -> Tensor:
    """The classifier of every branch on what that branch has read, ``(S, branches, classes)``."""
    parts = zip(classifiers, pooled.unbind(1), strict=True)
    return torch.stack([classifier(part) for classifier, part in parts], dim=1)
