"""The contract of edge programs, by Triton's interpreter: the definition in float64, on the CPU."""

import copy
import functools
from typing import Any

import pytest
import torch
from contract_programs import CASES, LAYERS, NORMALIZERS, SCORES, Case
from contract_runs import (
    RETURNED,
    assert_equal,
    assert_near,
    is_square,
    random_edges,
    run,
    structures,
    wide,
)
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.rows import PIECE
from graphattn.kernels.triton.launch import Kernel

# Numpy, in which the interpreter computes, warns of what is masked out afterwards.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

WIDTHS = ((3, 5), (1, 4), (2, 16), (4, 1), (1, 8))  # heads and channels
HUB_EDGES = PIECE + 40  # two pieces
SETTINGS = {name: WIDTHS[number % 5] for number, name in enumerate([*LAYERS, *SCORES])} | (
    dict.fromkeys(NORMALIZERS, (3, 5))
)
# Those that every structure and element type is tried with: fused and in steps, with and without
# sums over all edges, with matrices and with an edge output.
REPRESENTATIVE = ["GATv2", "Transformer", "perceptron", "channel-wise", "sink softmax", "ReLU sum"]


def triton(case: Case, widths: tuple[int, int], dtype: torch.dtype) -> tuple[EdgeAttention, ...]:
    """The attention by Triton, and the definition in float64 with the same, rounded, parameters."""
    compiled = case.layer(*widths, backend="triton").to(dtype)
    reference = case.layer(*widths, backend="reference", check=False)
    reference.load_state_dict(copy.deepcopy(compiled.state_dict()))
    return compiled, reference.to(dtype).double()


@functools.cache
def made_structures(square: bool) -> dict[str, Edges]:
    made = structures(square=square)
    ends = torch.arange(HUB_EDGES) % 7, torch.full((HUB_EDGES,), 4)
    sizes = (9, 9) if square else (9, 7)
    made["target star"] = Edges.from_edge_index(torch.stack(ends), *sizes)
    made["source star"] = Edges.from_edge_index(torch.stack(ends[::-1]), *sizes)
    return made


def check(name: str, structure: str, dtype: torch.dtype, **options: Any) -> None:
    case, widths = CASES[name], SETTINGS[name]
    edges = made_structures(is_square(case)).get(structure)
    if edges is None:
        pytest.skip(f"{structure} has not as many sources as targets")
    compiled, reference = triton(case, widths, dtype)
    inputs = case.inputs(edges, *widths, dtype)
    actual = run(compiled, edges, inputs, **options)
    expected = run(reference, edges, wide(inputs), cotangent_type=dtype, **options)
    assert_near(actual, expected, dtype)


@pytest.mark.parametrize("name", CASES)
def test_values_and_joint_gradients_are_those_of_the_definition(name: str) -> None:
    check(name, "assorted", torch.float32, dropout=0.4, **dict.fromkeys(RETURNED, True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_other_element_types(name: str, dtype: torch.dtype) -> None:
    check(name, "assorted", dtype, dropout=0.4)


@pytest.mark.parametrize("structure", [s for s in made_structures(False) if s != "assorted"])
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_structures_that_are_hard(name: str, structure: str) -> None:
    check(name, structure, torch.float32, return_weights=True)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_all_pairs_inside_sets(name: str) -> None:
    case, widths = CASES[name], SETTINGS[name]
    blocks = Blocks.from_ptr(torch.tensor([0, 3, 3, 7, 12]), torch.tensor([0, 4, 6, 6, 13]))
    compiled, reference = triton(case, widths, torch.float32)
    inputs = case.inputs(blocks, *widths, torch.float32)
    options = {"dropout": 0.4, **dict.fromkeys(RETURNED, True)}
    actual = run(compiled, blocks, inputs, **options)
    expected = run(reference, blocks, wide(inputs), cotangent_type=torch.float32, **options)
    assert_near(actual, expected, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("structure", made_structures(False))
@pytest.mark.parametrize("name", CASES)
def test_every_program_on_every_structure(name: str, structure: str, dtype: torch.dtype) -> None:
    check(name, structure, dtype, dropout=0.4, **dict.fromkeys(RETURNED, True))


@pytest.mark.parametrize("value", [-torch.inf, torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("name", ["softmax", "sink softmax", "softplus sum", "sparsemax"])
def test_special_logits_give_what_the_definition_gives(name: str, value: float) -> None:
    case, widths = CASES[name], SETTINGS[name]
    compiled, reference = triton(case, widths, torch.float32)
    edges = made_structures(False)["assorted"]
    inputs = case.inputs(edges, *widths, torch.float32)
    logits = inputs[case.logits or ""]
    if value == -torch.inf:
        logits[edges.target == 3] = value  # a whole row, and one edge of many
    logits[(edges.target == 1).nonzero()[0], 0] = value
    actual = run(compiled, edges, inputs, dropout=0.3, return_weights=True)
    expected = run(
        reference,
        edges,
        wide(inputs),
        cotangent_type=torch.float32,
        dropout=0.3,
        return_weights=True,
    )
    assert_near(actual, expected, torch.float32)


@pytest.mark.parametrize("structure", ["assorted", "target star", "source star"])
@pytest.mark.parametrize("name", ["GATv2", "perceptron"])
def test_the_same_bits_each_run(name: str, structure: str) -> None:
    case, widths = CASES[name], SETTINGS[name]
    compiled, _ = triton(case, widths, torch.float32)
    edges = made_structures(False)[structure]
    inputs = case.inputs(edges, *widths, torch.float32)
    first, second = (run(compiled, edges, inputs, dropout=0.3) for _ in range(2))
    assert_equal(first, second)


def test_what_runs_is_the_compiled_program(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    launch = Kernel.__call__

    def counted(kernel: Kernel, *arguments: Any) -> None:
        ran.append(kernel.made.name)
        launch(kernel, *arguments)

    monkeypatch.setattr(Kernel, "__call__", counted)
    check("GATv2", "assorted", torch.float32)
    assert ran == ["forward", "backward_by_target", "backward_by_source"]


@pytest.mark.parametrize("degree", [1, 3, 40])
def test_tiles_of_any_number_of_edges(degree: int) -> None:
    case, widths = CASES["GATv2"], (2, 16)
    compiled, reference = triton(case, widths, torch.float32)
    edges = Edges.from_edge_index(random_edges(5, 4, 4 * degree), 5, 4)
    inputs = case.inputs(edges, *widths, torch.float32)
    actual = run(compiled, edges, inputs)
    assert_near(actual, run(reference, edges, wide(inputs)), torch.float32)


def test_second_derivatives_are_those_of_the_definition() -> None:
    case, widths = CASES["GATv2"], SETTINGS["GATv2"]
    edges = made_structures(False)["assorted"]
    inputs = case.inputs(edges, *widths, torch.float64)

    def penalty(layer: EdgeAttention) -> dict[str, Tensor]:
        leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
        out = layer(edges, **leaves)
        first = torch.autograd.grad(out.square().sum(), list(leaves.values()), create_graph=True)
        total = sum(gradient.square().sum() for gradient in first)
        return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))

    compiled, reference = triton(case, widths, torch.float64)
    actual, expected = penalty(compiled), penalty(reference)
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient)


def test_a_device_with_little_memory_gets_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    tried: list[int] = []
    made = Kernel.__init__

    class Little:
        """A kernel whose tiles may have two edges at most."""

        def __init__(self, run: Any) -> None:
            self.run = run

        def __getitem__(self, grid: tuple[int]) -> Any:
            def launch(*arguments: Any, **options: Any) -> None:
                tried.append(options["BLOCK"])
                if options["BLOCK"] > 2:
                    raise OutOfResources(1 << 20, 1 << 16, "shared memory")
                self.run[grid](*arguments, **options)

            return launch

    def little(kernel: Kernel, source: Any) -> None:
        made(kernel, source)
        kernel.run = Little(kernel.run)

    monkeypatch.setattr(Kernel, "__init__", little)
    check("GATv2", "assorted", torch.float32)
    assert tried == [16, 8, 4, 2, 16, 8, 4, 2, 8, 4, 2]  # sources have fewer edges
    tried.clear()
    check("GATv2", "target star", torch.float32)
    assert tried[-1] == 2
