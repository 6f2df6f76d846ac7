"""Which of PyTorch's operations gathers rows, and which sums them, fastest on the CPU.

    python benchmarks/gather_scatter.py

Forward and backward of every way, interleaved in one run; medians, and ratios to the fastest.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def expanded(index: Tensor, width: int) -> Tensor:
    return index.unsqueeze(1).expand(-1, width)


GATHERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gather": lambda x, index: x.gather(0, expanded(index, x.shape[1])),
    "index_select": lambda x, index: x.index_select(0, index),
    "index_select, rows of two axes": lambda x, index: x.unflatten(1, (-1, 8)).index_select(
        0, index
    ),
    "x[index]": lambda x, index: x[index],
    "embedding": lambda x, index: F.embedding(index, x),
}
SUMS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "scatter_add": lambda rows, index, size: rows.new_zeros(size, rows.shape[1]).scatter_add(
        0, expanded(index, rows.shape[1]), rows
    ),
    "index_add": lambda rows, index, size: rows.new_zeros(size, rows.shape[1]).index_add(
        0, index, rows
    ),
    "index_add, rows of two axes": lambda rows, index, size: rows.new_zeros(
        size, rows.shape[1] // 8, 8
    ).index_add(0, index, rows.unflatten(1, (-1, 8))),
}


def report(
    title: str, ways: Mapping[str, Callable[[], Tensor]], source: Tensor, rounds: int
) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            result = way()
            torch.autograd.grad(result, source, torch.ones_like(result))
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    fastest = min(medians.values())
    print(f"\n{title}, forward and backward")
    for name, median in medians.items():
        print(f"  {name:31} {1e3 * median:8.1f} ms   {median / fastest:5.1f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=19_717)  # PubMed with self-loops
    parser.add_argument("--edges", type=int, default=108_365)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()

    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {vars(given)}")
    index = torch.randint(0, given.nodes, (given.edges,))
    nodes = torch.randn(given.nodes, given.channels, requires_grad=True)
    rows = torch.randn(given.edges, given.channels, requires_grad=True)
    gathers = {name: (lambda way=way: way(nodes, index)) for name, way in GATHERS.items()}
    sums = {name: (lambda way=way: way(rows, index, given.nodes)) for name, way in SUMS.items()}
    report("gather rows", gathers, nodes, given.rounds)
    report("sum rows", sums, rows, given.rounds)


if __name__ == "__main__":
    main()
