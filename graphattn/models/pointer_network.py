"""Pointer networks: sequences of choices among the elements of a set."""

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_elements, check_own_keys, check_sets
from graphattn.nn.sets.pointer_attention import PointerAttention


class PointerNetwork(nn.Module):
    r"""One recurrent network reads the elements of a set, another points at them one by one.

    Each step of the second network sees the element chosen last, and its state points by
    ``PointerAttention`` at the states that the first network had at the elements. Sets may differ
    in size and in the number of their steps. A sequence that can end of itself needs an element
    that stands for its end.

    Args:
        in_channels: Width of the elements.
        hidden_channels: Width of both networks and of the score.
        only_once: Whether an element that was chosen may not be chosen again, as in a tour.

    Shapes:
        - x: ``(N, in_channels)``, the elements of all sets one after another, in the order in which
          they are read, which matters
        - blocks: the queries are the ``Q`` steps of all sets one after another, the keys are the
          elements; ``P`` pairs
        - choices: rows of ``x``, one for each step, ``(Q,)``, int64
        - output: logarithms of the probabilities of every element at every step, ``(P,)``, in the
          order of the pairs; ``pointer_attention.chosen`` finds those of choices

    Raises:
        TypeError: If ``x`` is no floating-point tensor, ``choices`` not int64, or ``blocks`` no
            ``Blocks``.
        ValueError: If a shape does not fit, a choice is of another set, or a set has too few
            elements for its steps.

    Source: Vinyals, Fortunato and Jaitly, "Pointer Networks", NeurIPS 2015.
    """

    def __init__(self, in_channels: int, hidden_channels: int, only_once: bool = False) -> None:
        super().__init__()
        self.in_channels, self.only_once = in_channels, only_once
        self.encoder = nn.LSTM(in_channels, hidden_channels, batch_first=True)
        self.decoder = nn.LSTM(in_channels, hidden_channels, batch_first=True)
        self.start = nn.Parameter(torch.zeros(in_channels))
        self.pointer = PointerAttention(hidden_channels, hidden_channels, hidden_channels)

    def forward(self, x: Tensor, blocks: Blocks, choices: Tensor) -> Tensor:
        """The probabilities of every step, given the choices before it; see the class."""
        self._check(x, blocks)
        check_own_keys("choices", choices, blocks)
        seen = x[choices].roll(1, 0)  # at each step the choice before it
        steps = torch.arange(blocks.num_targets, device=x.device)
        first = blocks.target_ptr[:-1][blocks.target_ptr.diff() > 0]
        is_first = torch.zeros_like(steps, dtype=torch.bool).index_fill(0, first, True)
        seen = torch.where(is_first.unsqueeze(1), self.start, seen)
        elements, state = _run(self.encoder, x, blocks.source_sizes)
        states, _ = _run(self.decoder, seen, blocks.target_sizes, state)
        allowed = None
        if self.only_once:
            when = steps.new_full((len(x),), len(steps)).scatter_reduce(0, choices, steps, "amin")
            allowed = (when[blocks.source] >= blocks.target).to(x.dtype)
        log_probability: Tensor = self.pointer(states, elements, blocks, allowed)
        return log_probability

    @torch.no_grad()
    def decode(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Chooses the most probable element at every step.

        Args:
            x: ``(N, in_channels)``.
            blocks: Steps and elements.

        Returns:
            Rows of ``x``, ``(Q,)``, int64; as in ``torch.argmax``, NaN is more probable than all.
        """
        self._check(x, blocks)
        elements, state = _run(self.encoder, x, blocks.source_sizes)
        one_each = blocks.transposed().seeds(1)
        of_set = one_each.target  # the set of each element
        free, seen = x.new_ones(len(x)), self.start.expand(blocks.num_sets, 1, -1)
        row, chosen_rows = torch.arange(len(x), device=x.device), []
        for _ in range(max(blocks.target_sizes, default=0)):
            out, state = self.decoder(seen, state)
            allowed = free if self.only_once else None
            log_probability = self.pointer(out.squeeze(1), elements, one_each, allowed)
            best = row.new_full((blocks.num_sets,), len(x))
            highest = log_probability.new_full((blocks.num_sets,), -torch.inf)
            highest = highest.scatter_reduce(0, of_set, log_probability, "amax")
            is_best = (log_probability == highest[of_set]) | log_probability.isnan()
            best = best.scatter_reduce(0, of_set[is_best], row[is_best], "amin")
            chosen_rows.append(best)
            free = free.index_fill(0, best[best < len(x)], 0.0)
            # Sets without elements have no steps: what they see is of no account.
            seen = x[best.clamp(max=len(x) - 1)].unsqueeze(1)
        if not chosen_rows:
            return row[:0]
        sizes = blocks.target_ptr.diff().unsqueeze(1)  # (S, 1)
        by_set = torch.stack(chosen_rows, dim=1)  # (S, steps)
        return by_set[torch.arange(by_set.shape[1], device=x.device) < sizes]

    def _check(self, x: Tensor, blocks: Blocks) -> None:
        check_sets(blocks)
        check_elements("x", x, blocks.num_sources, self.in_channels)
        for steps, size in zip(blocks.target_sizes, blocks.source_sizes, strict=True):
            if steps and steps > (size if self.only_once else size * steps):
                raise ValueError(f"blocks must have elements to choose, got {size} for {steps}")


def _run(
    network: nn.LSTM, x: Tensor, sizes: list[int], state: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """A recurrent network along every sequence: states ``(N, C)``, and the last ones."""
    zeros = x.new_zeros(1, len(sizes), network.hidden_size)
    before = (zeros, zeros) if state is None else state
    there = torch.tensor([place for place, size in enumerate(sizes) if size], device=x.device)
    if len(there) == 0:
        return x.new_zeros(0, network.hidden_size), before
    parts = [part for part in x.split(sizes) if len(part)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    out, last = network(packed, tuple(part[:, there] for part in before))
    padded, lengths = rnn.pad_packed_sequence(out, batch_first=True)
    states = torch.cat([row[:length] for row, length in zip(padded, lengths, strict=True)])
    # A sequence of no steps ends as it began.
    first, second = (own.index_copy(1, there, new) for own, new in zip(before, last, strict=True))
    return states, (first, second)
