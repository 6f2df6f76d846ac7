"""What a layer computes for each edge, and the kernels that were compiled for it, as text."""

import sys

from torch import nn

from graphattn.attention import EdgeAttention


def show(layer: nn.Module) -> str:
    """The edge programs of a layer, and the source of the kernels compiled for them so far.

    A program is recorded at the first call with inputs of a kind, and a kernel is compiled when it
    first runs; before any call there is nothing to show.

    >>> layer = GATv2Conv(16, 8, heads=2)
    >>> layer(x, edge_index).sum().backward()
    >>> print(graphattn.show(layer))

    Args:
        layer: An ``EdgeAttention``, or a module with such in it; also a layer of ``graphattn.nn``.

    Returns:
        For each program its steps, one a line, and the C++ of each pass, with a headline.

    Raises:
        TypeError: If there is no edge attention in ``layer``.
    """
    found = _attentions(layer)
    if not found:
        raise TypeError(f"layer must have an EdgeAttention in it, got {type(layer).__name__}")
    parts = []
    for attention in found:
        for number, plan in enumerate(attention._compiled.plans):
            parts.append(_headline(f"program {number + 1} of {attention}"))
            parts.append(str(plan.program))
            for (name, *_), kernel in plan.kernels.items():
                parts.append(_headline(name.replace("_", " ")))
                parts.append(kernel.source)
    return "\n".join(parts) or "no program was recorded yet: call the layer first"


def _attentions(layer: nn.Module) -> list[EdgeAttention]:
    found = [module for module in layer.modules() if isinstance(module, EdgeAttention)]
    for module in layer.modules():
        # The layers of graphattn.nn keep no parameters in their attention: one serves them all.
        shared = getattr(sys.modules.get(type(module).__module__), "attend", None)
        if isinstance(shared, EdgeAttention) and shared not in found:
            found.append(shared)
    return found


def _headline(text: str) -> str:
    return f"\n// ---- {text} ----\n"
