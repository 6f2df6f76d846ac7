"""Matformer's convolution: stored results, its promises, nodes without edges, bad input."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_graphs import bipartite_edges
from golden_arrays import TOLERANCES, Golden
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn import Edges, testing
from graphattn.nn.convolutions import matformer_conv
from graphattn.nn.convolutions.matformer_conv import MatformerConv, products

CASES = ("conv_0_h4", "conv_1_h2_mean", "conv_3_h1_beta_mean")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition; one stored case below runs compiled."""
    monkeypatch.setattr(matformer_conv.attend, "backend", "reference")


def test_every_stored_case_is_run(golden_folder: Path) -> None:
    assert {path.stem for path in golden_folder.glob("matformer/*.npz")} == set(CASES)


@pytest.mark.parametrize(
    ("case", "dtype", "backend"),
    [
        *((case, dtype, "reference") for case in CASES for dtype in TOLERANCES),
        ("conv_0_h4", torch.float32, "auto"),
    ],
    ids=str,
)
def test_the_layer_is_the_official_one(
    case: str,
    dtype: torch.dtype,
    backend: str,
    golden_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matformer_conv.attend, "backend", backend)
    stored = Golden(golden_folder / f"matformer/{case}.npz", dtype, rename=str)
    settings = stored.settings
    names = ("in_channels", "out_channels", "heads", "edge_dim", "concat", "beta")
    layer: Any = stored.load(MatformerConv(*(settings[name] for name in names)))
    x, edge_index, edge_attr = (stored.inputs[n] for n in ("x", "edge_index", "edge_attr"))
    source, target = edge_index
    query, key, edge = (
        linear(features).unflatten(1, (layer.heads, -1))
        for linear, features in (
            (layer.lin_query, x), (layer.lin_key, x), (layer.lin_edge, edge_attr),
        )
    )  # fmt: skip
    alpha = products(query[target], (query * key)[target], key[source], edge)
    stored.check(layer, out=layer(x, edge_index, edge_attr), alpha=alpha)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    "promise",
    [
        testing.assert_renaming_renames_outputs,
        testing.assert_order_of_edges_is_free,
        testing.assert_graphs_do_not_mix,
        testing.assert_nodes_see_their_sources_only,
    ],
)
@pytest.mark.parametrize("concat", [True, False])
def test_what_every_layer_promises(promise: Callable[..., None], concat: bool) -> None:
    layer = MatformerConv(4, 3, heads=2, edge_dim=5, concat=concat, beta=True).double().eval()
    x, edge_attr = torch.randn(9, 4).double(), torch.randn(30, 5).double()
    promise(layer, x, bipartite_edges(9, 9, 30), edge_attr)


@pytest.mark.usefixtures("plain")
def test_a_node_without_edges_keeps_what_is_its_own() -> None:
    layer = MatformerConv(4, 3, heads=2).eval()
    x = torch.randn(6, 4)
    out = layer(x, bipartite_edges(5, 5, 12), torch.randn(12, 3))
    own = F.silu(layer.bn(layer.lin_concate.bias.unsqueeze(0)))[0]
    assert_close(out[5], own + layer.lin_skip(x[5]))
    nothing = layer(x[:0], torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, 3))
    assert nothing.shape == (0, 3)


@pytest.mark.usefixtures("plain")
def test_two_edges_between_the_same_atoms_each_count() -> None:
    layer = MatformerConv(4, 3, concat=False).double().eval()
    x, edge_attr = torch.randn(2, 4).double(), torch.randn(2, 3).double()
    seen: list[Tensor] = []
    layer.bn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for edges in ([0, 1], [0], [1]):
        index = torch.tensor([[0] * len(edges), [1] * len(edges)])
        layer(x, Edges.from_edge_index(index, 2, 2), edge_attr[edges])
    both, first, second = seen
    assert_close(both, first + second)
    assert not torch.allclose(first, second)


@pytest.mark.usefixtures("plain")
def test_derivatives() -> None:
    layer = MatformerConv(3, 2, heads=2, beta=True).double().eval()
    edge_index = bipartite_edges(4, 4, 6)
    x, edge_attr = torch.randn(4, 3).double(), torch.randn(6, 2).double()

    def run(x: Tensor, edge_attr: Tensor) -> Tensor:
        return layer(x, edge_index, edge_attr)

    assert gradcheck(run, (x.requires_grad_(), edge_attr.requires_grad_()), fast_mode=True)


def test_bad_input_is_named() -> None:
    layer = MatformerConv(4, 3, edge_dim=2)
    x, edge_index = torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"edge_attr must be \(2, 2\), got \(2, 3\)"):
        layer(x, edge_index, torch.randn(2, 3))
    with pytest.raises(ValueError, match=r"x must be \(3, 4\), got \(3, 5\)"):
        layer(torch.randn(3, 5), edge_index, torch.randn(2, 2))
    with pytest.raises(IndexError):
        layer(x[:2], edge_index, torch.randn(2, 2))
    with pytest.raises(ValueError, match="heads must be positive, got 0"):
        MatformerConv(4, 3, heads=0)
