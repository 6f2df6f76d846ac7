"""ACMIL whose branches are learned tokens that read the bag by dot products."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.nn.elements import check_elements, check_heads, check_sets
from graphattn.nn.sets.acmil import apply_each, keep_at_random


def score(key: Tensor, token: Tensor, keep: Tensor | None = None) -> Tensor:
    """The scaled dot product ``(E, H)`` of keys ``(E, H, C)`` with one token ``(H, C)``."""
    logits = (key * token).sum(-1) / key.shape[-1] ** 0.5
    return logits if keep is None else torch.where(keep > 0, logits, -1e9)  # not -inf, as for gates


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(score, message, source=["key", "value"], edge=["keep"], shared=["token"])


class MultiheadACMIL(nn.Module):
    r"""Classifies bags by several learned tokens, each of which reads the bag by attention.

    Every token has projections, heads, a layer norm and a classifier of its own. The classifier of
    the bag reads it with the mean of the tokens' weights, head by head. The loss is that of
    ``ACMIL``.

    Args:
        in_channels: Width of the instances.
        channels: Width of the tokens.
        num_classes: Number of classes.
        branches: Number of tokens.
        heads: Number of heads; divides ``channels``.
        masking: Of how many of the highest instances which fraction is left out in training.

    Shapes:
        - x: ``(N, in_channels)``, the instances of all bags one after another
        - blocks: ``S`` bags of ``N`` instances
        - output: logits of the bags ``(S, num_classes)``, of every token
          ``(S, branches, num_classes)``, and the weights and logits of the attention,
          ``(N, branches, heads)`` each. An empty bag gets what the biases give.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, or ``heads`` does not divide ``channels``.

    Source: Zhang et al., "Attention-Challenging Multiple Instance Learning for Whole Slide Image
        Classification", ECCV 2024, the authors' code (``ACMIL_MHA``): there with 8 heads, and a
        tenth of what is read dropped in training, as here.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        branches: int = 5,
        heads: int = 8,
        masking: tuple[int, float] = (10, 0.6),
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.in_channels, self.heads, self.masking = in_channels, heads, masking
        self.reduction = nn.Linear(in_channels, channels, bias=False)
        self.tokens = nn.Parameter(torch.empty(branches, channels))
        nn.init.normal_(self.tokens, std=1e-6)
        self.readers = nn.ModuleList(_TokenReader(channels) for _ in range(branches))
        self.bag_reader = _Reader(channels)
        self.branch_classifiers = nn.ModuleList(
            nn.Linear(channels, num_classes) for _ in range(branches)
        )
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor, blocks: Blocks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Classifies; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.in_channels)
        x = self.reduction(x).relu()
        masking = self.masking if self.training else (0, 0.0)
        read = [
            reader(token, x, blocks, self.heads, masking)
            for token, reader in zip(self.tokens, self.readers, strict=True)
        ]
        pooled, weights, logits = (torch.stack(part, dim=1) for part in zip(*read, strict=True))
        value = self.bag_reader.value(x).unflatten(1, (self.heads, -1))
        bag = attend(blocks.seeds(1), value=value, weights=weights.mean(1))
        branches = apply_each(self.branch_classifiers, pooled)
        return self.classifier(self.bag_reader.finished(bag)), branches, weights, logits


class _Reader(nn.Module):
    """The values that an attention reads, and what is done with them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.value, self.output = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.layer_norm = nn.LayerNorm(channels, eps=1e-6)

    def finished(self, out: Tensor) -> Tensor:
        dropped = F.dropout(self.output(out.flatten(1)), 0.1, self.training)
        normalized: Tensor = self.layer_norm(dropped)
        return normalized


class _TokenReader(_Reader):
    """One token's attention."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(
        self, token: Tensor, x: Tensor, blocks: Blocks, heads: int, masking: tuple[int, float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What was read ``(S, channels)``, the weights and logits ``(N, heads)``."""
        query, key, value = (
            part.unflatten(-1, (heads, -1))
            for part in (self.query(token), self.key(x), self.value(x))
        )
        inputs = {"token": query, "key": key, "value": value}
        if masking[0] > 0:
            inputs["keep"] = keep_at_random(score(key, query), blocks, *masking)
        out, weights, logits = attend(
            blocks.seeds(1), return_weights=True, return_logits=True, **inputs
        )
        return self.finished(out), weights, logits
