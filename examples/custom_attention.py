"""A score of one's own: recovers a hidden length scale, 0.300 from a start at 1, in ten seconds.

Points in the plane carry random values. Every point reports the average of its neighbours' values,
weighted by a Gaussian of their distance whose width is hidden from us. Attention with the same
score, written below in four lines, learns the width from the reports.

    python examples/custom_attention.py
"""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.utils import dense_to_sparse

from graphattn import EdgeAttention, Edges

HIDDEN_WIDTH = 0.3
RADIUS = 0.5  # neighbours lie this close; the points fill a square of side 3


def score(distance: Tensor, width: Tensor) -> Tensor:
    """A Gaussian of the distance, per head: distance is ``(E, 1)``, width ``(H,)``."""
    return -0.5 * (distance / width).square()  # (E, H)


def message(value: Tensor) -> Tensor:
    """What a neighbour has to say, ``(E, H, C)``."""
    return value


class LocalAverage(nn.Module):
    """Weighted average of the neighbours' values, with a learned width."""

    def __init__(self) -> None:
        super().__init__()
        self.log_width = nn.Parameter(torch.zeros(1))
        self.attention = EdgeAttention(
            score, message, source=["value"], edge=["distance"], shared=["width"]
        )

    def forward(self, edges: Edges, value: Tensor, distance: Tensor) -> Tensor:
        width = self.log_width.exp()
        return self.attention(edges, value=value, distance=distance, width=width)


def main(arguments: Sequence[str] | None = None) -> float:
    """Train and report; returns the learned width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)

    torch.manual_seed(given.seed)
    position = 3 * torch.rand(given.points, 2)
    distances = torch.cdist(position, position)
    edge_index, distance = dense_to_sparse(distances * (distances < RADIUS))
    edges = Edges.from_edge_index(edge_index, given.points, given.points)
    value, distance = torch.randn(given.points, 1, 4), distance.unsqueeze(-1)

    model = LocalAverage()
    print("What is computed for every edge:\n")
    print(model.attention.program(value=value, distance=distance, width=torch.ones(1)), "\n")
    with torch.no_grad():
        hidden = torch.tensor([HIDDEN_WIDTH])
        reports = model.attention(edges, value=value, distance=distance, width=hidden)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(given.steps):
        loss = (model(edges, value, distance) - reports).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}: loss {loss:.6f}, width {model.log_width.exp().item():.3f}")
    width = model.log_width.exp().item()
    print(f"learned width {width:.3f}, hidden width {HIDDEN_WIDTH:.3f}")
    return width


if __name__ == "__main__":
    main()
