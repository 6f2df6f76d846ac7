"""What a call of EdgeAttention may hold: weights, dropout, modules, modes, transforms."""

import copy
import functools
import pickle
from typing import Any

import pytest
import torch
from attention_cases import (
    CHANNELS,
    HEADS,
    attention,
    bipartite,
    dot_attention,
    inputs_for,
    structures,
)
from contract_programs import Gate
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.nn import functional as F
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import graphattn.attention
from graphattn.edges import Edges
from graphattn.kernels.program import CaptureError


def test_weights_may_be_passed_in() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    out, weights = attention()(edges, **x, return_weights=True)
    given = weights.detach().requires_grad_()
    again, same = attention()(edges, weights=given, value=x["value"], return_weights=True)
    assert_close(again, out)
    assert torch.equal(same, weights)

    attend = attention()

    def results(weights: Tensor, value: Tensor) -> Tensor:
        return attend(edges, weights=weights, value=value)

    free = torch.randn_like(weights).requires_grad_()
    assert gradcheck(results, (free, x["value"]))
    with pytest.raises(ValueError, match="return_logits needs the score"):
        attention()(edges, **x, weights=weights, return_logits=True)
    with pytest.raises(TypeError, match="the source input 'value' is missing"):
        attention()(edges, weights=weights)


def test_dropout_is_that_of_pytorch_for_the_same_seed() -> None:
    edges = bipartite(200)
    x = inputs_for(edges, dtype=torch.float32)
    weights = attention()(edges, **x, return_weights=True)[1]
    torch.manual_seed(3)
    expected = F.dropout(weights, 0.4)
    torch.manual_seed(3)
    out, before, after = attention()(
        edges, **x, dropout=0.4, return_weights=True, return_dropped=True
    )
    assert torch.equal(before, weights)
    assert torch.equal(after == 0, expected == 0)
    assert_close(after, expected)
    definition = attention(backend="reference")
    assert_close(out, definition(edges, value=x["value"], weights=expected))


def test_dropout_of_everything_and_of_nothing() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    out = attention()(edges, **x, dropout=1.0)
    assert out.eq(0).all()
    out.sum().backward()
    assert x["value"].grad.eq(0).all()
    state = torch.get_rng_state()
    assert torch.equal(attention()(edges, **x, dropout=0.0), attention()(edges, **x))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\], got 2"):
        attention()(edges, **x, dropout=2.0)


def three_inputs(edges: Edges, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Those of a score of two inputs, in the widths of the contract, for its kernels."""
    x = inputs_for(edges, 3, 5, dtype, requires_grad=True)
    return {name: x[name] for name in ("query", "key", "value")}


def test_the_parameters_of_a_module_belong_to_the_attention_and_are_trained() -> None:
    attend = dot_attention(Gate(5).double())
    assert set(attend.state_dict()) == {
        *("score.first.weight", "score.first.bias", "score.second.weight", "score.slope"),
        *("score.norm.weight", "score.norm.bias", "score.logit.weight", "score.logit.bias"),
    }
    edges = bipartite()
    x = three_inputs(edges)
    names = dict(attend.named_parameters())

    def results(*tensors: Tensor) -> Tensor:
        return torch.func.functional_call(
            attend, dict(zip(names, tensors, strict=True)), (edges,), x
        )

    assert gradcheck(results, tuple(p.detach().clone().requires_grad_() for p in names.values()))
    attend(edges, **x).sum().backward()
    assert all(parameter.grad is not None for parameter in attend.parameters())


def test_copies_and_pickles_have_parameters_of_their_own() -> None:
    attend = dot_attention(Gate(5).double())
    edges = bipartite()
    x = three_inputs(edges)
    expected = attend(edges, **x)
    for other in (copy.deepcopy(attend), pickle.loads(pickle.dumps(attend))):
        assert torch.equal(other(edges, **x), expected)
        with torch.no_grad():
            other.score.logit.weight.mul_(2)
        assert not torch.equal(other(edges, **x), expected)
        assert torch.equal(attend(edges, **x), expected)
    fresh = dot_attention(Gate(5).double())
    fresh.load_state_dict(attend.state_dict())
    assert torch.equal(fresh(edges, **x), expected)
    plain = pickle.loads(pickle.dumps(attention()))
    assert repr(plain) == repr(attention())


def test_training_mode_of_a_module_is_seen() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            return self.drop(query * key).sum(-1)

    edges = bipartite()
    x = three_inputs(edges, torch.float32)
    attend = dot_attention(Dropping()).eval()
    attend(edges, **x)
    with pytest.raises(CaptureError, match="draws random numbers"):
        attend.train()(edges, **x)


def test_partials_lambdas_defaults_and_numbers() -> None:
    def scaled(
        query: Tensor, key: Tensor, scale: float = 2.0, bias: Tensor | None = None
    ) -> Tensor:
        logits = (query * key).sum(-1) * scale
        return logits if bias is None else logits + bias

    edges = bipartite()
    x = inputs_for(edges)
    three = {name: x[name] for name in ("query", "key", "value")}
    attend = dot_attention(scaled, edge=["bias"], shared=["scale"])
    expected = attend(edges, **three)
    assert_close(attend(edges, **three, scale=2), expected)
    assert_close(attend(edges, **three, scale=torch.tensor(2.0, dtype=torch.float64)), expected)
    assert_close(attend(edges, **three, bias=torch.zeros_like(x["bias"])), expected)
    assert not torch.allclose(attend(edges, **three, scale=0.5), expected)
    assert not torch.allclose(attend(edges, **three, bias=x["bias"]), expected)
    partial = dot_attention(functools.partial(scaled, scale=2.0))
    assert_close(partial(edges, **three), expected)
    anonymous = dot_attention(lambda query, key: (query * key).sum(-1) * 2)
    assert_close(anonymous(edges, **three), expected)


def count_captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    original = graphattn.compiled.capture

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(graphattn.compiled, "capture", counted)
    return calls


def test_functions_are_recorded_once_for_all_numbers_of_nodes_and_edges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = count_captures(monkeypatch)
    attend = attention()
    for edges in structures().values():
        attend(edges, **inputs_for(edges))
    assert len(calls) == 1
    edges = bipartite()
    x = inputs_for(edges)
    assert "20" not in str(attend.program(**x))
    attend.program(**inputs_for(edges, channels=CHANNELS + 1))
    attend(edges, **inputs_for(edges, dtype=torch.float32))
    weights, value = torch.ones(20, HEADS).double(), x["value"]
    attend(edges, weights=weights.requires_grad_(), value=value.requires_grad_())
    assert len(calls) == 4
    with torch.autocast("cpu", torch.bfloat16):
        attend(edges, **inputs_for(edges, dtype=torch.float32))
    assert len(calls) == 5


def test_without_checks_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_captures(monkeypatch)

    def centered(query: Tensor, key: Tensor) -> Tensor:
        logits = (query * key).sum(-1)
        return logits - logits.mean(0)

    edges = bipartite()
    x = three_inputs(edges, torch.float32)
    with pytest.raises(CaptureError, match="mixes edges"):
        dot_attention(centered)(edges, **x)
    calls.clear()
    out = dot_attention(centered, backend="reference", check=False)(edges, **x)
    assert_close(out, dot_attention(lambda query, key: (query * key).sum(-1))(edges, **x))
    assert len(calls) == 1  # that of the line above
    with pytest.raises(ValueError, match="check=False needs"):
        dot_attention(centered, check=False)


def test_transforms_of_functions_work() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    attend = attention()

    def of_query(query: Tensor) -> Tensor:
        return attend(edges, **{**x, "query": query})

    many = torch.randn(4, *x["query"].shape, dtype=torch.float64, requires_grad=True)
    assert_close(torch.vmap(of_query)(many), torch.stack([of_query(query) for query in many]))
    expected = torch.autograd.functional.jacobian(of_query, x["query"])
    fresh = attention()
    assert_close(
        torch.func.jacrev(lambda query: fresh(edges, **{**x, "query": query}))(x["query"]), expected
    )


def test_modes_of_autograd_change_no_result() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    expected = attention()(edges, **x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(attention()(edges, **x), expected)


def test_checkpointing_gives_the_same() -> None:
    edges = bipartite()
    x = inputs_for(edges, requires_grad=True)
    first = functools.partial(attention(), edges, dropout=0.5, **x)  # recorded under its hooks
    found = []
    for run in (lambda: checkpoint(first, use_reentrant=False), first):
        torch.manual_seed(0)
        out = run()
        found.append([out, *torch.autograd.grad(out.sin().sum(), list(x.values()))])
    assert all(map(torch.equal, *found))


def test_autocast_acts_on_the_functions() -> None:
    def bilinear(query: Tensor, key: Tensor, matrix: Tensor) -> Tensor:
        return ((query @ matrix) * key).sum(-1)

    edges = bipartite()
    x = inputs_for(edges, dtype=torch.float32)
    three = {name: x[name] for name in ("query", "key", "value")}
    matrix = torch.randn(CHANNELS, CHANNELS)
    definition = dot_attention(bilinear, shared=["matrix"], backend="reference")
    expected = definition(edges, **three, matrix=matrix)
    # Compiled kernels compute what is half precision in float32, and need not differ.
    differs = {"reference": True, "auto": False}
    for backend, must_differ in differs.items():
        attend = dot_attention(bilinear, shared=["matrix"], backend=backend)
        with torch.autocast("cpu", torch.bfloat16):
            out = attend(edges, **three, matrix=matrix)
            program = attend.program(**three, matrix=matrix)
        assert "bfloat16" in str(program)
        assert out.dtype == torch.float32
        assert not must_differ or not torch.equal(out, expected)
        assert_close(out, expected, rtol=0.05, atol=0.05)


def test_torch_compile_gives_the_same() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    attend = attention()
    compiled = torch.compile(attention(), backend="eager")
    for _ in range(2):
        assert_close(compiled(edges, **x), attend(edges, **x))


def test_an_attention_says_what_it_is() -> None:
    assert "target=['query'], source=['key', 'value'], edge=['bias']" in repr(attention())
    edges = bipartite()
    text = str(attention().program(**inputs_for(edges)))
    assert "target query: [2, 3] float64" in text
    assert "message <- value" in text
