"""Why a goal is missed, where it is: what a profile or an experiment says, and how to repeat it."""

# By the beginning of the goal's words; shown only where the goal is not met.
EXPLANATIONS = {
    "TransformerConv: times faster than PyG, forward": "Two fifths of the forward pass are the "
    "four linear maps with their biases and the sum with the skip connection, which PyG has as "
    "well: `python -m benchmarks.layer_profile TransformerConv`. Three records of the same kernel "
    "on this shared machine gave 8.6, 9.7 and 12 times; prefetching 4, 8 or 12 edges ahead makes "
    "no difference.",
    "most growth per doubling, N proportional": "With N fixed the growth is even; with N, all "
    "tensors of nodes grow, and each is fresh memory that the system hands out page by page. With "
    "malloc told to keep what it has (`MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000`), "
    "the step at 5,000,000 edges took 1.3 to 2.0 s and not 2.2 to 2.6, and grew 2.2 times. The "
    "kernels' own buffers ask for large pages, PyTorch's linear maps do not.",
    "GATConv: the same from the disk cache": "A kernel is read from the disk in a millisecond; the "
    "time goes into recording the program, of which about 75 ms is the start of PyTorch's tracer "
    "in a process, and 12 ms each for the two recordings of a program and the one of its "
    "derivative. A second layer of another kind takes about 40 ms.",
    "GraphTransformer, molhiv": "More than half of the step are products of linear maps, of atoms "
    "and of twice as many bonds, the same in both networks; attention is a twelfth, structures "
    "less than a hundredth. With all that attention takes for nothing, the step would be no faster "
    "than the table of the group says under *at most*: "
    "`python -m benchmarks.molecules.parts GraphTransformer`. What there was to gain is the "
    "dropout of features, two fifths of PyG's step.",
    "TransformerConv, molhiv": "Half of the step are products of linear maps, the same in both "
    "networks. Attention is a tenth of ours and a sixth of PyG's: see *at most* in the table of "
    "the group, and `python -m benchmarks.molecules.parts TransformerConv`.",
    "GPS, GatedGCN, mollipo": "What is gained on molhiv is the padding: there the largest molecule "
    "of a batch makes 16 times as many pairs, here 3 times. Of our step attention is a quarter, "
    "products of linear maps, norms, embeddings, the dropout of features and the optimizer three "
    "fifths: see *at most* in the table of the group, and "
    '`python -m benchmarks.molecules.parts "GPS, GatedGCN"`.',
}


def explanation(what: str) -> str | None:
    """The explanation of a goal, if there is one."""
    return next((text for start, text in EXPLANATIONS.items() if what.startswith(start)), None)
