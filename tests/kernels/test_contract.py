"""One contract for all edge programs: what is compiled equals the definition in float64."""

import functools
from typing import Any

import pytest
import torch
from contract_programs import CASES, LAYERS, NORMALIZERS, SCORES
from contract_runs import (
    RETURNED,
    Run,
    assert_equal,
    assert_near,
    is_square,
    pair,
    random_edges,
    run,
    structures,
    threads,
    wide,
)
from pairwise import all_pairs
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.kernels.cpp import launch
from graphattn.nn.convolutions import gat_conv, gatv2_conv, transformer_conv
from graphattn.normalizers import Softmax

WIDTHS = ((3, 5), (1, 4), (2, 33), (4, 1), (1, 16))  # heads and channels
LOW = (torch.float32, torch.bfloat16, torch.float32, torch.float16)
# Each program is compiled in float64, for finite differences, and in a lower type; neighbours in
# the table differ in types and widths. Programs that differ in a normalizer outside of the kernels
# have one setting, and so one kernel.
SETTINGS = {
    name: (LOW[number % 4], WIDTHS[number % 5], WIDTHS[(number + 2) % 5])
    for number, name in enumerate([*LAYERS, *SCORES])
} | dict.fromkeys(NORMALIZERS, (torch.float32, (3, 5), (2, 3)))


@functools.cache
def made_structures(square: bool) -> dict[str, Edges]:
    return structures(square=square)


CALLS = all_pairs(
    {
        "structure": list(structures(square=False)),
        "dropout": [0.0, 0.4, 1.0],
        "returned": [(), RETURNED, *((name,) for name in RETURNED)],
        "is_strided": [False, True],
        "threads": [1, 2, 3],
    }
)
NAMES = pytest.mark.parametrize("name", CASES)


@functools.cache
def layers(name: str, dtype: torch.dtype) -> tuple[EdgeAttention, EdgeAttention]:
    low, of_low, of_double = SETTINGS[name]
    return pair(CASES[name], *(of_low if dtype == low else of_double), dtype)


def strided(x: Tensor) -> Tensor:
    return torch.stack([x, x], dim=-1)[..., 0]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (name, call)
        for name, case in CASES.items()
        for call in CALLS
        if call["structure"] in made_structures(is_square(case))
    ],
)
def test_values_and_joint_gradients_are_those_of_the_definition(
    name: str, call: dict[str, Any]
) -> None:
    dtype, widths, _ = SETTINGS[name]
    compiled, reference = layers(name, dtype)
    edges = made_structures(is_square(CASES[name]))[call["structure"]]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    if call["is_strided"]:
        inputs = {key: strided(x) for key, x in inputs.items()}
    options = {"dropout": call["dropout"], **dict.fromkeys(call["returned"], True)}
    with threads(call["threads"]):
        actual = run(compiled, edges, inputs, **options)
    expected = run(reference, edges, wide(inputs), cotangent_type=dtype, **options)
    assert_near(actual, expected, dtype)


@pytest.mark.parametrize("structure", ["assorted", "target star", "source star"])
@NAMES
def test_the_same_bits_for_any_number_of_threads(name: str, structure: str) -> None:
    dtype, widths, _ = SETTINGS[name]
    compiled, _ = layers(name, dtype)
    edges = made_structures(is_square(CASES[name]))[structure]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    runs = []
    for number in (1, 2, 3, 1):
        with threads(number):
            runs.append(run(compiled, edges, inputs, dropout=0.3, return_weights=True))
    for other in runs[1:]:
        assert_equal(other, runs[0])


@NAMES
def test_first_and_second_derivatives_by_finite_differences(name: str) -> None:
    compiled, _ = layers(name, torch.float64)
    torch.manual_seed(6)
    edges = Edges.from_edge_index(random_edges(4, 3, 8), 4, 4)
    inputs = CASES[name].inputs(edges, *SETTINGS[name][2], torch.float64)
    leaves = {key: x for key, x in inputs.items() if x.is_floating_point()}
    leaves |= {key: x.detach() for key, x in compiled.named_parameters()}

    def results(*tensors: Tensor) -> Any:
        torch.manual_seed(7)
        given = dict(zip(leaves, tensors, strict=True))
        own = {key: given.pop(key) for key in leaves if key not in inputs}
        options = {"dropout": 0.2, **dict.fromkeys(RETURNED, True)}
        call = {**inputs, **given, **options}
        found = torch.func.functional_call(compiled, own, (edges,), call)
        return tuple(x.masked_fill(x.isinf(), 0) for x in found)  # logits of what is masked out

    tensors = [x.requires_grad_() for x in leaves.values()]
    assert gradcheck(results, tensors, fast_mode=True)
    assert gradgradcheck(results, tensors, fast_mode=True)


SPECIAL = [name for name, case in CASES.items() if case.logits is not None]


@pytest.mark.parametrize("value", [-torch.inf, torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_logits_give_what_the_definition_gives(name: str, value: float) -> None:
    dtype, widths, _ = SETTINGS[name]
    compiled, reference = layers(name, dtype)
    edges = made_structures(True)["assorted"]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    logits = inputs[CASES[name].logits or ""]
    if value == -torch.inf:
        logits[edges.target == 3] = value  # a whole row, and one edge of many
    logits[(edges.target == 1).nonzero()[0], 0] = value
    options = {"dropout": 0.3, "return_weights": True}
    actual = run(compiled, edges, inputs, **options)
    expected = run(reference, edges, wide(inputs), cotangent_type=dtype, **options)
    if name == "clamped softmax" and value != value:
        # The gradient of a NaN that is clamped is zero in PyTorch, NaN in the kernel.
        actual.gradients.clear(), expected.gradients.clear()
    assert_near(actual, expected, dtype)
    spoilt = expected.results[0].isnan().flatten(1).any(1)
    if value == -torch.inf and isinstance(CASES[name].normalizer(1), Softmax):
        row = edges.target == 3
        assert not actual.gradients[CASES[name].logits or ""][row].any()
        assert not actual.results[0][3].any()
    # Degrees belong to both ends of an edge, and so do their NaNs.
    assert spoilt.sum() <= (len(spoilt) if is_square(CASES[name]) else 1)


@pytest.mark.parametrize("name", [*LAYERS, *SCORES])
def test_nan_in_a_target_stays_there(name: str) -> None:
    dtype, widths, _ = SETTINGS[name]
    compiled, _ = layers(name, dtype)
    edges = made_structures(False)["assorted"]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    clean = run(compiled, edges, inputs).results
    own = next(key for key in ("query", "target", "target_logit") if key in inputs)
    inputs[own][1] = torch.nan
    spoilt = run(compiled, edges, inputs).results
    assert spoilt[0][1].isnan().all()
    spoilt[0][1] = clean[0][1]
    assert torch.equal(spoilt[0], clean[0])


@pytest.mark.parametrize(
    ("name", "module"),
    [("GAT", gat_conv), ("GATv2", gatv2_conv), ("Transformer", transformer_conv)],
)
def test_what_the_layers_call_is_the_compiled_program(name: str, module: Any) -> None:
    dtype, widths, _ = SETTINGS[name]
    compiled, _ = layers(name, dtype)
    edges = made_structures(False)["assorted"]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    options = {"dropout": 0.3, **dict.fromkeys(RETURNED, True)}
    assert module.attend.backend == "auto"
    assert_equal(
        run(module.attend, edges, inputs, **options), run(compiled, edges, inputs, **options)
    )


@pytest.mark.parametrize("name", ["message of all ends", "Transformer", "standardize"])
def test_weights_may_be_given(name: str) -> None:
    dtype, widths, _ = SETTINGS[name]
    edges = made_structures(False)["assorted"]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    weights = torch.randn(edges.num_edges, widths[0]).to(dtype)
    runs = []
    for layer, own in zip(layers(name, dtype), (inputs, wide(inputs)), strict=True):
        given = weights.to(own["value"].dtype).requires_grad_()
        names = layer.functions["message"].names
        leaves = {key: x.detach().requires_grad_() for key, x in own.items() if key in names}
        torch.manual_seed(3)
        out = layer(edges, **leaves, weights=given, dropout=0.4)
        torch.manual_seed(4)
        cotangent = torch.randn(out.shape, dtype=torch.float64).to(dtype).to(out.dtype)
        wanted = {"weights": given} | leaves
        found = torch.autograd.grad(out, list(wanted.values()), cotangent, allow_unused=True)
        gradients = {key: x for key, x in zip(wanted, found, strict=True) if x is not None}
        runs.append(Run([out.detach()], gradients))
    assert_near(runs[0], runs[1], dtype)


def test_ten_batches_of_ten_shapes_build_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = set()
    load = launch.load
    monkeypatch.setattr(launch, "load", lambda text: (texts.add(text), load(text))[1])
    roles = {"target": ["query"], "source": ["key", "value"]}
    for size in range(1, 11):
        edges = Edges.from_edge_index(random_edges(size, size + 1, 7 * size), size, size + 1)
        layer = EdgeAttention(
            lambda query, key: (query * key).sum(-1), lambda value: value, backend="cpp", **roles
        )
        rows = {"query": size + 1, "key": size, "value": size}
        inputs = {key: torch.randn(number, 3, 5) for key, number in rows.items()}
        run(layer, edges, inputs, return_weights=size % 2 == 0)
    assert len(texts) == 1  # forward and both backward passes together


@pytest.mark.parametrize("name", SCORES)
def test_features_of_zero_have_the_derivatives_of_the_definition(name: str) -> None:
    dtype, widths, _ = SETTINGS[name]
    edges = made_structures(False)["assorted"]
    inputs = CASES[name].inputs(edges, *widths, dtype)
    for key in ("query", "key", "edge", "value"):
        if key in inputs:
            inputs[key][::2] = 0
    compiled, reference = layers(name, dtype)
    expected = run(reference, edges, wide(inputs), cotangent_type=dtype)
    assert_near(run(compiled, edges, inputs), expected, dtype)
