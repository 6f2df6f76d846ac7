"""Programs run as C++ equal the reference: from a user's function to a kernel."""

from typing import Any

import pytest
import torch
from compiled_programs import PROGRAMS, SHAPES, C, E, H, N, attention, edges_with_a_hub, plain
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.kernels.cpp import forward as cpp_forward
from graphattn.kernels.cpp import launch
from graphattn.nn import gat_conv, gatv2_conv, transformer_conv


@pytest.fixture
def edges() -> Edges:
    return edges_with_a_hub()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_compiled_program_equals_the_reference(
    name: str, dtype: torch.dtype, edges: Edges
) -> None:
    compiled, names = attention(PROGRAMS[name], "cpp")
    reference, _ = attention(PROGRAMS[name], "reference")
    compiled.to(dtype), reference.to(dtype)
    inputs = {key: torch.randn(SHAPES[key], dtype=dtype) for key in names}
    with torch.no_grad():
        expected = reference(edges, return_weights=True, return_logits=True, **inputs)
        actual = compiled(edges, return_weights=True, return_logits=True, **inputs)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("module", [gat_conv, gatv2_conv, transformer_conv])
def test_the_built_in_scores_compile(module: Any, edges: Edges) -> None:
    reference = module.attend
    compiled = EdgeAttention(
        module.score,
        module.message,
        backend="cpp",
        **{
            role: [name for name, own in reference.roles.items() if own == role]
            for role in ("target", "source", "edge", "shared")
        },
    )
    rows = {"target": N, "source": N, "edge": E}
    inputs: dict[str, Any] = {
        name: torch.randn(*([rows[role]] if role in rows else []), H, C)
        for name, role in reference.roles.items()
    }
    inputs.update({name: torch.randn(inputs[name].shape[:2]) for name in inputs if "logit" in name})
    if "mask" in inputs:
        inputs["mask"] = torch.rand(E)
    if "negative_slope" in inputs:
        inputs["negative_slope"] = 0.1
    with torch.no_grad():
        torch.testing.assert_close(compiled(edges, **inputs), reference(edges, **inputs))


def special_logits(edges: Edges) -> Tensor:
    logits = torch.randn(E, 2)
    logits[edges.target == 3] = -torch.inf
    logits[(edges.target == 4).nonzero()[0], 1] = torch.nan
    logits[(edges.target == 5).nonzero()[0], 0] = torch.inf
    logits[(edges.target == 6).nonzero()[0]] = -torch.inf
    return logits


def test_special_values_stay_in_their_row_and_head(edges: Edges) -> None:
    edges = Edges.from_edge_index(
        torch.stack([edges.source, torch.arange(E) % 8]), N, N
    )  # every special target has several edges
    logits, value = special_logits(edges), torch.randn(N, 2, 4)
    outputs = [
        EdgeAttention(
            lambda logits: logits, plain, edge=["logits"], source=["value"], backend=backend
        )(edges, logits=logits, value=value)
        for backend in ("reference", "cpp")
    ]
    torch.testing.assert_close(outputs[1], outputs[0], equal_nan=True)
    is_nan = outputs[1].isnan().all(-1)
    expected = torch.zeros(N, 2, dtype=torch.bool)
    expected[4, 1] = expected[5, 0] = True
    assert torch.equal(is_nan, expected)
    assert torch.equal(outputs[1][3], torch.zeros(2, 4))
    assert torch.equal(outputs[1][8:], torch.zeros(N - 8, 2, 4))


def test_an_empty_structure_gives_zeros() -> None:
    edges = Edges.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 4, 3)
    layer, _ = attention(PROGRAMS["product"], "cpp")
    with torch.no_grad():
        out = layer(
            edges,
            query=torch.randn(3, H, C),
            key=torch.randn(4, H, C),
            value=torch.randn(4, H, C),
        )
    assert torch.equal(out, torch.zeros(3, H, C))


def test_the_same_bits_for_any_number_of_threads(edges: Edges) -> None:
    layer, names = attention(PROGRAMS["many moves"], "cpp")
    inputs = {key: torch.randn(SHAPES[key]) for key in names}
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.no_grad():
                results.append(layer(edges, **inputs))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_one_build_serves_all_sizes_and_functions_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = set()
    load = launch.load
    monkeypatch.setattr(launch, "load", lambda source: (sources.add(source), load(source))[1])
    for size in range(2, 12):
        edges = Edges.from_edge_index(torch.randint(0, size, (2, 3 * size)), size, size)
        layer = EdgeAttention(
            lambda query, key: (query * key).sum(-1),
            lambda value: value * 1.5,
            target=["query"],
            source=["key", "value"],
            backend="cpp",
        )
        rows = {name: torch.randn(size, H, C) for name in ("query", "key", "value")}
        layer(edges, **rows)
    assert len(sources) == 1


def test_names_that_mean_something_in_cpp_are_fine(edges: Edges) -> None:
    def score(add_0: Tensor, double: Tensor, größe: Tensor) -> Tensor:
        return (add_0 * double).sum(-1) + add_0.sum(-1) * größe

    roles = {"target": ["add_0"], "source": ["double", "out"], "shared": ["größe"]}
    inputs = {name: torch.randn(N, H, C) for name in ("add_0", "double", "out")}
    outputs = [
        EdgeAttention(score, lambda out: out, backend=backend, **roles)(
            edges, **inputs, größe=torch.tensor(0.3)
        )
        for backend in ("reference", "cpp")
    ]
    torch.testing.assert_close(outputs[1], outputs[0])


def test_strided_inputs_are_read_right(edges: Edges) -> None:
    layer, _ = attention(PROGRAMS["product"], "cpp")
    reference, _ = attention(PROGRAMS["product"], "reference")
    inputs = {
        "query": torch.randn(H, C, N).permute(2, 0, 1),
        "key": torch.randn(2 * N, H, C)[::2],
        "value": torch.randn(1, H, C).expand(N, H, C),
    }
    torch.testing.assert_close(layer(edges, **inputs), reference(edges, **inputs))


def test_the_generated_source_reads_like_the_program(edges: Edges) -> None:
    layer, names = attention(PROGRAMS["product"], "cpp")
    program = layer.program(**{key: torch.randn(SHAPES[key]) for key in names})
    text = cpp_forward.forward_pass(program).source()
    assert "// %mul_0 = mul(query, key)" in text
    assert "test_cpp_forward.py" not in text  # else a moved line would compile anew
    assert "#pragma omp parallel for" in text
