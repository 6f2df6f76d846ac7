"""EdgeAttention against a loop over targets: values, derivatives, element types."""

from typing import Any

import pytest
import torch
from attention_cases import (
    CHANNELS,
    HEADS,
    NUM_SOURCES,
    NUM_TARGETS,
    attention,
    bipartite,
    dense,
    dot_attention,
    edge_output,
    inputs_for,
    structures,
)
from contract_programs import dot_product, masked
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn.edges import Edges
from graphattn.normalizers import Normalizer


@pytest.mark.parametrize("sizes", [(HEADS, CHANNELS), (1, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("name", structures())
def test_all_results_are_those_of_a_loop_over_targets(name: str, sizes: tuple[int, int]) -> None:
    edges = structures()[name]
    # With gradients wanted, the kernel is that of the derivatives below.
    x = inputs_for(edges, *sizes, requires_grad=sizes == (HEADS, CHANNELS))
    results = attention(edge_output=edge_output)(
        edges, **x, return_weights=True, return_logits=True
    )
    expected = dense(edges, x)
    assert len(results) == 4
    for result, part in zip(results, ("out", "edge_output", "weights", "logits"), strict=True):
        assert_close(result, expected[part])


def test_one_result_comes_alone_and_more_in_a_fixed_order() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    attend = attention()
    out = attend(edges, **x)
    assert isinstance(out, Tensor)
    expected = dense(edges, x)
    _, weights, dropped, logits = attend(
        edges, **x, return_weights=True, return_dropped=True, return_logits=True
    )
    assert_close(weights, expected["weights"])
    assert_close(dropped, expected["weights"])
    assert_close(logits, expected["logits"])


def test_renaming_edges_renames_their_results() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    order = torch.randperm(edges.num_edges)
    other = Edges.from_edge_index(edges.edge_index[:, order], NUM_SOURCES, NUM_TARGETS)
    attend = attention()
    out, weights = attend(edges, **x, return_weights=True)
    again, others = attend(other, **{**x, "bias": x["bias"][order]}, return_weights=True)
    assert_close(again, out)
    assert_close(others, weights[order])


@pytest.mark.parametrize("name", ["random", "self-loops", "duplicates", "bipartite", "hub"])
def test_first_derivatives(name: str) -> None:
    edges = structures()[name]
    x = inputs_for(edges, requires_grad=True)
    attend = attention(edge_output=edge_output)

    def results(*tensors: Tensor) -> Any:
        named = dict(zip(x, tensors, strict=True))
        return attend(edges, **named, return_weights=True, return_logits=True)

    assert gradcheck(results, tuple(x.values()))


def test_second_derivatives_of_output_and_weights() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1, 1, 2, 0], [0, 0, 2, 2, 2]]), 3)
    x = inputs_for(edges, requires_grad=True)
    attend = attention()

    def results(*tensors: Tensor) -> Any:
        return attend(edges, **dict(zip(x, tensors, strict=True)), return_weights=True)

    assert gradgradcheck(results, tuple(x.values()))


def test_weights_and_logits_can_be_trained_on() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    _, weights, logits = attention()(edges, **x, return_weights=True, return_logits=True)
    (weights.square().sum() + logits.sum()).backward()
    for name in ("query", "key", "bias", "width"):
        assert x[name].grad is not None
        assert x[name].grad.abs().sum() > 0
    value = x["value"].grad
    assert value is None or not value.any()


def test_a_target_whose_logits_are_all_minus_infinity_is_empty() -> None:
    edges = bipartite(30)
    x = inputs_for(edges, requires_grad=True)
    del x["width"]
    own = edges.target == 1
    with torch.no_grad():
        x["bias"][own, 0] = -torch.inf
    attend = dot_attention(dot_product, edge=["bias"])
    out, weights = attend(edges, **x, return_weights=True)
    assert torch.equal(out[1, 0], torch.zeros(CHANNELS, dtype=torch.float64))
    assert weights[own, 0].eq(0).all()
    assert weights[own, 1].gt(0).all()
    (out.square().sum() + weights.square().sum()).backward()
    assert not any(tensor.grad.isnan().any() for tensor in x.values())
    assert x["query"].grad[1, 0].eq(0).all()
    assert x["bias"].grad[own, 0].eq(0).all()
    assert x["query"].grad[1, 1].ne(0).any()


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_wrong_logit_spoils_its_target_and_head_alone(wrong: float) -> None:
    edges = bipartite(30)
    x = inputs_for(edges)
    clean = attention()(edges, **x)
    edge = int((edges.target == 2).nonzero()[0])
    x["bias"][edge, 1] = -wrong
    out, weights = attention()(edges, **x, return_weights=True)
    assert out[2, 1].isnan().all()
    out[2, 1] = clean[2, 1]
    assert torch.equal(out, clean)
    spoiled = torch.zeros_like(weights, dtype=torch.bool)
    spoiled[edges.target == 2, 1] = True
    assert torch.equal(weights.isnan(), spoiled)


def test_nan_in_a_source_reaches_its_targets_alone() -> None:
    edges = bipartite(12)
    x = inputs_for(edges)
    x["value"][3] = torch.nan
    out = attention()(edges, **x)
    reached = edges.target[edges.source == 3].unique().tolist()
    assert [i for i in range(NUM_TARGETS) if out[i].isnan().any()] == reached


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sums_of_low_precision_are_held_in_float32(dtype: torch.dtype) -> None:
    edges = Edges.from_edge_index(torch.zeros(2, 5000, dtype=torch.int64), 1)
    x = {name: torch.ones_like(t) for name, t in inputs_for(edges, dtype=dtype).items()}
    out = attention()(edges, **x)
    assert out.dtype == dtype
    # Equal edges average to the value itself; the weight, 1 / 5000, is rounded once.
    assert_close(out, torch.ones_like(out))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_element_type_is_near_the_result_in_float64(dtype: torch.dtype) -> None:
    edges = structures()["random"]
    x = inputs_for(edges, dtype=dtype)
    expected = dense(edges, {name: tensor.double() for name, tensor in x.items()})
    # The user's score is rounded at every step: logits of size 5 carry an error of about 2e-2.
    loose = {} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    assert_close(attention()(edges, **x), expected["out"].to(dtype), **loose)


def test_mixed_element_types_promote() -> None:
    edges = bipartite()
    x = inputs_for(edges, dtype=torch.float32)
    expected = attention()(edges, **x)
    for name in x:
        assert attention().program(**{**x, name: x[name].double()}).output_dtype == torch.float64
    for names in (["value"], ["query", "bias"], ["key", "width"]):  # each is a compiler run
        out = attention()(edges, **x | {name: x[name].double() for name in names})
        assert out.dtype == torch.float64
        assert_close(out.float(), expected)
    half = attention().program(**{**x, "value": x["value"].bfloat16()})
    assert half.output_dtype == torch.float32


def test_inputs_need_not_be_contiguous() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    strided = {
        name: torch.stack([t, t], dim=-1)[..., 0].transpose(0, -1).contiguous().transpose(0, -1)
        for name, t in x.items()
    }
    assert not all(t.is_contiguous() for t in strided.values())
    assert torch.equal(attention()(edges, **strided), attention()(edges, **x))
    one = {**x, "width": x["width"][:1].expand(HEADS)}
    assert_close(attention()(edges, **one), dense(edges, one)["out"])


def test_an_edge_may_be_masked_by_a_bool() -> None:
    edges = bipartite()
    x = inputs_for(edges, 4, 1, requires_grad=True)  # as in the contract
    keep = torch.rand(edges.num_edges) > 0.4
    names = {name: x[name] for name in ("query", "key", "value")}
    attend = dot_attention(masked, edge=["keep"])
    out = attend(edges, keep=keep, **names)
    fewer = Edges.from_edge_index(edges.edge_index[:, keep], NUM_SOURCES, NUM_TARGETS)
    assert_close(out, attend(fewer, keep=keep[keep], **names))


class Thirds(Normalizer):
    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return 0 * logits + 1 / 3


class OneHead(Normalizer):
    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return logits[:, :1]


def test_a_normalizer_of_ones_own() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    out = attention(normalizer=Thirds())(edges, **x)
    expected = torch.zeros_like(out).index_add(0, edges.target, x["value"][edges.source]) / 3
    assert_close(out, expected)
    with pytest.raises(ValueError, match="normalizer must return a weight for each logit"):
        attention(normalizer=OneHead())(edges, **x)
