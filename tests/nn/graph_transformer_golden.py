"""What tests of graph transformers share: official names of parameters, and a look at memory."""

from collections.abc import Callable

import torch
from official import Named, Stored, renamed
from torch import nn

from graphattn import EdgeAttention

# Most of the official codes are descendants of one, and have its names.
NAMES = (
    ("attention.Q_2.", "lin_other_query."), ("attention.K_2.", "lin_other_key."),
    ("attention.E_2.", "lin_other_edge."), ("proj_e.", "E."),
    ("Q.", "lin_query."), ("K.", "lin_key."), ("V.", "lin_value."), ("E.", "lin_edge."),
    ("batch_norm", "norm"), ("layer_norm", "norm"),
    ("O_h.", "node_update.lin_out."), ("O_e.", "edge_update.lin_out."),
    ("norm1_h.", "node_update.attended_norm."), ("norm1_e.", "edge_update.attended_norm."),
    ("norm2_h.", "node_update.output_norm."), ("norm2_e.", "edge_update.output_norm."),
    ("FFN_h_layer1.", "node_update.perceptron.inner.0."),
    ("FFN_h_layer2.", "node_update.perceptron.inner.3."),
    ("FFN_e_layer1.", "edge_update.perceptron.inner.0."),
    ("FFN_e_layer2.", "edge_update.perceptron.inner.3."),
)  # fmt: skip


def names(*more: tuple[str, str]) -> Callable[[Named], Named]:
    """The official names as ours, with replacements that come before all others."""
    return renamed(*more, *NAMES)


def put(stored: Stored, layer: nn.Module, translated: Callable[[Named], Named]) -> None:
    """Puts stored parameters and running statistics into a layer; float64 is not compiled."""
    stored.load(layer, translated)
    buffers = translated(stored.part("buffer"))
    assert not layer.load_state_dict(buffers, strict=False).unexpected_keys
    if stored.dtype == torch.float64:
        for part in layer.modules():
            if isinstance(part, EdgeAttention):
                part.backend = "reference"
