"""Why a goal is missed, where it is: what a profile or an experiment says, and how to repeat it."""

# By the beginning of the goal's words; shown only where the goal is not met.
EXPLANATIONS = {
    "GATConv: times faster than PyG, forward": "Half of the forward pass is the fused kernel. Of "
    "the rest, a fifth of the whole is the product of features and attention vectors for the two "
    "logits of every node, which PyTorch writes out as a tensor of nodes x heads x channels "
    "(`aten::mul`), a sixth the linear map, a tenth the bias: `python -m "
    "benchmarks.layer_profile GATConv`. PyG spends less on scores here than elsewhere, so these "
    "parts, which both have, weigh more.",
    "most growth per doubling, N proportional": "The step that exceeds the goal is not the same "
    "one in every run, and with N fixed the growth is even. With N, every tensor of nodes grows "
    "beyond the memory that the process had before: the system hands out and clears fresh pages "
    "for the linear maps' results, which this virtual machine takes back between samples. The "
    "kernels' own buffers ask for large pages, PyTorch's do not.",
    "GATConv: the same from the disk cache": "A kernel is read from the disk in a millisecond; the "
    "time goes into recording the program, of which about 75 ms is the start of PyTorch's tracer "
    "in a process, and 12 ms each for the two recordings of a program and the one of its "
    "derivative. A second layer of another kind takes about 40 ms.",
}


def explanation(what: str) -> str | None:
    """The explanation of a goal, if there is one."""
    return next((text for start, text in EXPLANATIONS.items() if what.startswith(start)), None)
