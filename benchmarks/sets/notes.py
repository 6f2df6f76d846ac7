"""What the page says of the cases on sets."""

SET_TITLES = {
    "sets-ragged": "Sets of unequal size",
    "sets-equal": "Sets of one size",
    "aggregation": "Sets of unequal size, aggregated",
    "perceiver": "Perceiver: growth with the number of points",
}
SET_NOTES = {
    "sets-ragged": "64 sets of 10 to 2,000 elements (log-uniform), 128 channels, 4 heads, 32 "
    "induced points. PyG's padding is what its aggregation does: `to_dense_batch` to the largest "
    "set, and a mask. *By size* calls the same block once for the sets of each power of two, "
    "padded to the largest of them. PyTorch's nested tensors are left out (`--peers nested`): on a "
    "CPU their attention keeps all pairs, and asked for more than 20 GB. One tensor with a number "
    "for each pair and head would take 32 times the memory of the elements.",
    "sets-equal": "64 sets, 128 channels, 4 heads, 32 induced points: what ragged sets cost where "
    "nothing is ragged, against the block as one would write it with PyTorch's "
    "`scaled_dot_product_attention` on a dense batch without masks, and PyG's, which has masks.",
    "aggregation": "`SetTransformerAggregation` whole, on the sets above: a block, pooling by 4 "
    "seeds, a block among the seeds. Borders of sets are found, and padding is made, in each call.",
    "perceiver": "One set, 128 channels, 128 latents, 4 heads. The Perceiver reads the points once "
    "and then has 4 layers among the latents, whose cost is constant; its read is shown alone too.",
}
