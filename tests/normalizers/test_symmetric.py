"""Symmetric degree normalisation: the official network's weights, its symmetry, its edges."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_cases import attention, inputs_for, structures
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.normalizers.symmetric import SymmetricDegree

AERO = ("0_K4_h4", "1_K6_h2", "3_K2_h2")
DECAY = {"0_K4_h4": 1.0, "1_K6_h2": 0.5, "3_K2_h2": 0.25}
SQUARE = [name for name in structures() if name != "bipartite"]


def hop_score(left: Tensor, right: Tensor, attention: Tensor) -> Tensor:
    return (F.elu(left + right) * attention).sum(-1)


def hop_message(hidden: Tensor) -> Tensor:
    return hidden


def test_every_official_case_is_run(golden_folder: Path) -> None:
    assert {path.stem for path in golden_folder.glob("aero_gnn/*.npz")} == set(AERO)


@pytest.mark.parametrize("case", AERO)
def test_the_weights_of_all_hops_of_aero_gnn_are_the_official_ones(
    case: str, golden_folder: Path
) -> None:
    with np.load(golden_folder / "aero_gnn" / f"{case}.npz") as arrays:
        stored = {
            name: torch.from_numpy(arrays[name])
            for name in arrays
            if arrays[name].dtype.kind in "fi"
        }
    stored = {name: t.double() if t.is_floating_point() else t for name, t in stored.items()}
    param = {name[6:]: t for name, t in stored.items() if name.startswith("param.")}
    hops = sum(name.startswith("atts.") for name in param)
    layers = sum(name.startswith("dense_lins.") for name in param) // 2 - 1
    decays = [math.log(DECAY[case] / (k + 1) + 1 + 1e-6) for k in range(hops + 1)]

    hidden = stored["in.x"]
    for layer in range(layers):
        hidden = F.elu(hidden) if layer > 0 else hidden
        name = f"dense_lins.{layer}"
        hidden = F.linear(hidden, param[f"{name}.weight"], param[f"{name}.bias"])
    hidden = hidden.view(len(hidden), *param["atts.0"].shape[1:])
    gate = (F.elu(hidden) * param["hop_atts.0"]).sum(-1, keepdim=True)
    state = (gate + param["hop_biases.0"].unsqueeze(-1)) * hidden
    edges = Edges.from_edge_index(stored["in.edge_index"], len(hidden))
    attend = EdgeAttention(
        hop_score,
        hop_message,
        target=["left"],
        source=["right", "hidden"],
        shared=["attention"],
        normalizer=SymmetricDegree(),
    )
    for hop in range(1, hops + 1):
        decayed = state * decays[hop - 1]
        hidden, weights = attend(
            edges,
            left=decayed,
            right=decayed,
            hidden=hidden,
            attention=param[f"atts.{hop - 1}"][0],
            return_weights=True,
        )
        assert_close(weights, stored[f"out.edge_att{hop - 1}"], rtol=1e-9, atol=1e-12)
        gate = F.elu(torch.cat([hidden, decayed], -1)) * param[f"hop_atts.{hop}"]
        gate = gate.sum(-1, keepdim=True) + param[f"hop_biases.{hop}"].unsqueeze(-1)
        state = state + gate * hidden
    output = F.elu(state.flatten(1))
    name = f"dense_lins.{layers}"
    output = F.linear(output, param[f"{name}.weight"], param[f"{name}.bias"])
    assert_close(output, stored["out.out"], rtol=1e-9, atol=1e-9)


def test_of_an_undirected_graph_the_weights_are_a_symmetric_matrix() -> None:
    pairs = torch.tensor([[0, 1, 2, 0], [1, 2, 3, 3]])
    edges = Edges.from_edge_index(torch.cat([pairs, pairs.flip(0)], 1), 4)
    logits = torch.randn(4, 2, dtype=torch.float64).repeat(2, 1)
    weights = SymmetricDegree()(logits, edges)
    assert_close(weights[:4], weights[4:])
    # Equal logits leave the normalised adjacency matrix, whose largest eigenvalue is one.
    dense = torch.zeros(4, 4, dtype=torch.float64)
    dense[edges.target, edges.source] = SymmetricDegree()(torch.zeros_like(logits), edges)[:, 0]
    assert_close(torch.linalg.eigvalsh(dense)[-1], torch.ones((), dtype=torch.float64))


def test_a_node_without_incoming_edges_gives_its_edges_no_weight_and_finite_gradients() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)  # none into node 0
    logits = torch.randn(2, 1, requires_grad=True)
    weights = SymmetricDegree()(logits, edges)
    assert weights[0] == 0
    assert weights[1] > 0
    (gradient,) = torch.autograd.grad(weights.sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), logits)
    assert bool(gradient.isfinite().all())
    assert bool(second.isfinite().all())


def test_the_positive_map_may_be_any() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1, 0, 1], [1, 0, 0, 1]]), 2)
    logits = torch.tensor([[-1.0], [-2.0], [-3.0], [4.0]], requires_grad=True)
    weights = SymmetricDegree(torch.relu)(logits, edges)  # node 0 has a degree of zero
    assert_close(weights.detach(), torch.tensor([[0.0], [0.0], [0.0], [1.0]]))
    (gradient,) = torch.autograd.grad(weights.sum(), logits)
    assert bool(gradient.isfinite().all())
    learned = SymmetricDegree(nn.Softplus(beta=2.0))
    assert list(dict(learned.named_children())) == ["positive"]
    expected = F.softplus(logits, beta=2.0)
    degree = torch.stack([expected[1] + expected[2], expected[0] + expected[3]])
    ends = degree[edges.source].sqrt() * degree[edges.target].sqrt()
    assert_close(learned(logits, edges), expected / ends)
    assert "positive=relu" in repr(SymmetricDegree(torch.relu))


@pytest.mark.parametrize("structure", SQUARE)
def test_attention_with_it_can_be_differentiated_twice(structure: str) -> None:
    edges = structures()[structure]
    inputs = inputs_for(edges, requires_grad=True)
    run = attention(normalizer=SymmetricDegree())

    def output(*tensors: Tensor) -> Tensor:
        result: Tensor = run(edges, **dict(zip(inputs, tensors, strict=True)))
        return result

    assert gradcheck(output, tuple(inputs.values()))
    if structure in ("random", "duplicates"):
        assert gradgradcheck(output, tuple(inputs.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_half_precisions_sum_in_float32(dtype: torch.dtype) -> None:
    edges = Edges.from_edge_index(torch.zeros(2, 5000, dtype=torch.int64), 1)
    weights = SymmetricDegree()(torch.zeros(5000, 1, dtype=dtype), edges)
    assert weights.dtype == dtype
    assert_close(weights, torch.full((5000, 1), 1 / 5000, dtype=dtype))


def test_it_refuses_two_sets_of_nodes_and_maps_that_change_the_shape() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 2, 3)
    with pytest.raises(ValueError, match="got 2 sources and 3 targets"):
        SymmetricDegree()(torch.zeros(2, 1), edges)
    square = Edges.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    with pytest.raises(ValueError, match=r"positive must keep .* \(2, 4\), got \(2,\)"):
        SymmetricDegree(lambda logits: logits.sum(-1))(torch.zeros(2, 4), square)
