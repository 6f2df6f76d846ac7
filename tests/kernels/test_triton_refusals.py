"""What Triton's backend refuses, and how: nothing here needs a GPU or the interpreter."""

import importlib.util
from typing import Any

import pytest
import torch

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.plan import Plan
from graphattn.kernels.edge_attention.rows import INT32_EDGES
from graphattn.kernels.program import InputSpec, UserFunction, capture
from graphattn.kernels.triton.available import require_triton


def program(dtype: torch.dtype = torch.float32) -> Any:
    functions = {
        "logits": UserFunction.of(lambda query, key: (query * key).sum(-1), "score"),
        "message": UserFunction.of(lambda key: key.float(), "message"),
    }
    roles: dict[str, Any] = {"query": "target", "key": "source"}
    specs = {name: InputSpec(role, (2, 4), torch.float32) for name, role in roles.items()}
    specs["key"] = InputSpec("source", (2, 4), dtype)
    return capture(functions, specs, {})


def test_triton_that_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "graphattn\[triton\]"'):
        require_triton()
    with pytest.raises(ModuleNotFoundError, match=r'pip install "graphattn\[triton\]"'):
        Plan(program(), "triton").forward((), INT32_EDGES)


def test_tensors_on_the_cpu_are_refused_where_triton_needs_a_gpu() -> None:
    pytest.importorskip("triton")
    layer = EdgeAttention(
        lambda query, key: (query * key).sum(-1),
        lambda key: key,
        target=["query"],
        source=["key"],
        backend="triton",
    )
    edges = Edges.from_edge_index(torch.tensor([[0, 1], [1, 0]]))
    with pytest.raises(ValueError, match=r"on a GPU, or in Triton's interpreter, got cpu"):
        layer(edges, query=torch.randn(2, 1, 3), key=torch.randn(2, 1, 3))


def test_a_program_that_cannot_be_recorded_is_refused_as_on_the_cpu() -> None:
    layer = EdgeAttention(
        lambda query, key: (query * key.sum(0)).sum(-1),
        lambda key: key,
        target=["query"],
        source=["key"],
        backend="triton",
    )
    with pytest.raises(ValueError, match="mixes edges"):
        layer.program(query=torch.randn(2, 1, 3), key=torch.randn(2, 1, 3))


def test_an_unknown_element_type_is_refused() -> None:
    pytest.importorskip("triton")
    from graphattn.kernels.triton.forward import forward_pass

    with pytest.raises(TypeError, match=r'backend "triton" knows float32, .*got torch.int16'):
        forward_pass(program(torch.int16))


def test_tiles_are_made_smaller_until_nothing_is_left() -> None:
    pytest.importorskip("triton")
    from graphattn.kernels.triton.table import Settings, settings, step_down

    first = settings(widest=128, least_edges=1, degree=14.0)
    assert first == Settings(edges=4, warps=1)
    assert settings(widest=128, least_edges=1, degree=2.0).edges == 2
    assert settings(widest=8192, least_edges=16, degree=2.0).edges == 16
    error = MemoryError("out of resource: shared memory")
    used, tried = first, []
    while used != Settings(edges=1, warps=8):
        used = step_down(used, 1, error)
        tried.append((used.edges, used.warps))
    assert tried == [(2, 1), (1, 1), (1, 2), (1, 4), (1, 8)]
    with pytest.raises(RuntimeError, match=r"tiles of 1 edges \(out of resource: shared memory\)"):
        step_down(used, 1, error)
