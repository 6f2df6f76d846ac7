"""The drop-in layers against stored results of the official implementations, gradients included."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from drop_in_cases import assert_close
from official import TOLERANCES, Arrays, load, part
from torch import Tensor, nn
from torch.nn import functional as F

import graphattn.nn
from graphattn.nn import GATConv

CASES = {
    "gatv2/conv_0_h4": "GATv2Conv",
    "gatv2/conv_1_h2": "GATv2Conv",
    "gatv2/conv_2_h8": "GATv2Conv",
    "gatv2/conv_5_h4_bip": "GATv2Conv",
    "pyg/gat_0_h4": "GATConv",
    "pyg/gat_1_h2": "GATConv",
    "pyg/transformer_0_h4": "TransformerConv",
    "pyg/transformer_1_h2": "TransformerConv",
    "pyg/transformer_2_h3": "TransformerConv",
}


def build(name: str, arrays: Arrays, dtype: torch.dtype) -> nn.Module:
    kind = getattr(graphattn.nn, name)
    known = inspect.signature(kind).parameters  # the rest says where the numbers come from
    settings = json.loads(str(arrays["cfg"]))
    options = {key: value for key, value in settings.items() if key in known}
    layer: nn.Module = kind(**options).to(dtype)
    # Where weights are shared, the second name of the one matrix is stored as a buffer.
    layer.load_state_dict(part(arrays, "param", dtype) | part(arrays, "buffer", dtype))
    return layer


def test_every_stored_case_is_run(golden_folder: Path) -> None:
    stored = {f"gatv2/{path.stem}" for path in golden_folder.glob("gatv2/*.npz")}
    for layer in ("gat", "transformer"):
        stored |= {f"pyg/{path.stem}" for path in golden_folder.glob(f"pyg/{layer}_*.npz")}
    assert stored == set(CASES)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    arrays = load(golden_folder / f"{case}.npz")
    layer = build(CASES[case], arrays, dtype)
    inputs = part(arrays, "in", dtype)
    for tensor in inputs.values():
        tensor.requires_grad_(tensor.is_floating_point())
    x = inputs["x"] if "x" in inputs else (inputs["x_src"], inputs["x_dst"])
    optional = [inputs["edge_attr"]] if "edge_attr" in inputs else []
    output, (edge_index, weights) = layer(
        x, inputs["edge_index"], *optional, return_attention_weights=True
    )
    (output * part(arrays, "cot", dtype)["out"]).sum().backward()

    expected = part(arrays, "out", dtype)
    used = expected.get("edge_index_used", inputs["edge_index"])
    assert torch.equal(edge_index, used)
    tolerance = TOLERANCES[dtype]
    assert_close(output, expected["out"], "output", tolerance)
    assert_close(weights, expected["alpha"], "weights", tolerance)
    for name, gradient in part(arrays, "grad_in", dtype).items():
        assert_close(inputs[name].grad, gradient, f"gradient of {name}", tolerance)
    parameters = dict(layer.named_parameters())
    gradients = part(arrays, "grad_param", dtype)
    assert gradients.keys() == parameters.keys()
    for name, gradient in gradients.items():
        assert_close(parameters[name].grad, gradient, f"gradient of {name}", tolerance)


class TrainedCoraNetwork(nn.Module):
    """The authors' network with the weights they trained on Cora, made of two layers of ours.

    Their maps of target and source scores each have a bias, ``b1`` and ``b2``, and ours have none:
    the score lacks a constant per head inside the LeakyReLU. An edge feature that is one on every
    edge, loops included, adds it, with ``att_edge · lin_edge(1) = b1 + b2``.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        options = {"edge_dim": 1, "fill_value": 1.0}
        self.hidden = GATConv(1433, 8, heads=8, **options)
        self.output = GATConv(64, 7, heads=1, **options)
        load_heads(self.hidden, weights, range(8))
        load_heads(self.output, weights, range(8, 9))

    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``(N, 7)``, hidden features ``(N, 64)``, weights of the last layer ``(E, 1)``."""
        ones = x.new_ones(edge_index.shape[1])
        hidden = F.elu(self.hidden(x, edge_index, ones))
        logits, (_, attention) = self.output(
            hidden, edge_index, ones, return_attention_weights=True
        )
        return logits, hidden, attention


def load_heads(layer: GATConv, weights: dict[str, Tensor], heads: range) -> None:
    """Heads of the checkpoint, numbered through both layers, into one layer of ours."""

    def convolution(number: int, kind: str) -> Tensor:
        suffix = f"_{number}" if number else ""
        return weights[f"conv1d{suffix}.{kind}"]

    def output_bias(head: int) -> Tensor:
        suffix = f"_{head}" if head else ""
        return weights[f"BiasAdd{suffix}.biases"]

    width = layer.out_channels
    constants = [
        convolution(3 * head + 1, "bias") + convolution(3 * head + 2, "bias") for head in heads
    ]
    first_channel = torch.eye(1, width).expand(1, len(heads), width)
    layer.load_state_dict(
        {
            "lin.weight": torch.cat([convolution(3 * head, "kernel")[0].t() for head in heads]),
            "att_dst": torch.stack(
                [convolution(3 * head + 1, "kernel").flatten() for head in heads]
            )[None],
            "att_src": torch.stack(
                [convolution(3 * head + 2, "kernel").flatten() for head in heads]
            )[None],
            "att_edge": first_channel * torch.stack(constants),
            "lin_edge.weight": torch.ones(width * len(heads), 1),
            "bias": torch.cat([output_bias(head) for head in heads]),
        }
    )


@pytest.fixture
def cora(golden_folder: Path) -> tuple[nn.Module, Arrays, Tensor, Tensor]:
    """Network, stored arrays, rows of words that sum to one ``(2708, 1433)``, edges ``(2, E)``."""
    folder = golden_folder / "gat_cora_checkpoint"
    weights: dict[str, Tensor] = {}
    for half in "ab":
        weights |= part(load(folder / f"cora_weights_{half}.npz"), "param", torch.float64)
    arrays = load(folder / "cora_eval.npz")
    counts = torch.from_numpy(np.diff(arrays["in.x_indptr"])).long()
    x = torch.zeros(2708, 1433, dtype=torch.float64)
    words = torch.from_numpy(arrays["in.x_indices"]).long()
    x[torch.arange(2708).repeat_interleave(counts), words] = 1.0
    undirected = torch.from_numpy(arrays["in.edges_undirected"]).long().t()
    edge_index = torch.cat([undirected, undirected.flip(0)], dim=1)
    network = TrainedCoraNetwork(weights).double()
    # load_state_dict rounded to float32, which the stored weights fit without loss.
    return network, arrays, x / x.sum(1, keepdim=True), edge_index


def test_the_authors_cora_network_gives_its_published_accuracy(
    cora: tuple[nn.Module, Arrays, Tensor, Tensor],
) -> None:
    network, arrays, x, edge_index = cora
    with torch.no_grad():
        logits, _, _ = network.float()(x.float(), edge_index)
    test = torch.from_numpy(arrays["in.test_index"]).long()
    labels = torch.from_numpy(arrays["in.labels"]).long()
    assert (logits[test].argmax(1) == labels[test]).float().mean().item() == pytest.approx(0.844)
    assert_close(logits, torch.from_numpy(arrays["out.logits32"]), "logits", 1e-5)


def test_the_authors_cora_network_gives_its_stored_activations(
    cora: tuple[nn.Module, Arrays, Tensor, Tensor],
) -> None:
    network, arrays, x, edge_index = cora
    with torch.no_grad():
        logits, hidden, attention = network(x, edge_index)
    # b1 + b2 was rounded to float32, once.
    expected = torch.from_numpy(arrays["out.hidden_first64"])
    assert_close(hidden[:64], expected, "hidden features", 1e-7)
    assert_close(logits.float(), torch.from_numpy(arrays["out.logits32"]), "logits", 1e-6)
    loops = attention[-2708:, 0].float()
    assert_close(loops, torch.from_numpy(arrays["out.attn_last_diag"]), "weights of loops", 1e-6)
