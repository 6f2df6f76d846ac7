"""Where a training step of a layer spends its time, operator by operator, on the large graph.

python -m benchmarks.layer_profile GATConv
"""

import argparse
from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity, profile

import graphattn.nn
from benchmarks.cases import REFERENCE
from benchmarks.graphs import GRAPHS


def main(arguments: Sequence[str] | None = None) -> str:
    """Prints and returns the table: forward, then forward and backward."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layer", choices=["GATConv", "GATv2Conv", "TransformerConv"])
    parser.add_argument("--nodes", type=int, default=REFERENCE.num_nodes)
    parser.add_argument("--edges", type=int, default=REFERENCE.num_edges)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    edge_index = GRAPHS[REFERENCE.graph](given.nodes, given.edges, generator)
    layer = getattr(graphattn.nn, given.layer)(64, 16, heads=8)
    x = torch.randn(given.nodes, 64, requires_grad=True)
    for _ in range(3):  # kernels compiled, structure built, memory known
        layer(x, edge_index).sum().backward()
    with profile(activities=[ProfilerActivity.CPU]) as forward:
        out = layer(x, edge_index)
    with profile(activities=[ProfilerActivity.CPU]) as backward:
        out.sum().backward()
    tables = [
        found.key_averages().table(sort_by="self_cpu_time_total", row_limit=10)
        for found in (forward, backward)
    ]
    text = "\n".join(
        f"{given.layer}, {name}\n{table}"
        for name, table in zip(("forward", "backward"), tables, strict=True)
    )
    print(text)
    return text


if __name__ == "__main__":
    main()
