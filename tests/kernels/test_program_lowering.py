"""Captured programs compute what the user's functions compute, edge by edge."""

import random
from collections.abc import Callable

import pytest
import torch
from edge_programs import (
    CHANNELS,
    FUNCTIONS,
    HEADS,
    ROLES,
    Perceptron,
    Wrapped,
    captured,
    channel_wise,
    dot_product,
    inputs_of,
)
from step_by_step import interpret
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn.kernels.program import InputSpec, UserFunction, capture
from graphattn.kernels.program.capture import NUM_EDGES
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS

NUM_REAL_EDGES = 5


def check_edge_by_edge(function: Callable[..., Tensor], dtype: torch.dtype) -> None:
    program = captured(function, dtype)
    user = UserFunction.of(function, "score")
    inputs = inputs_of(user, NUM_REAL_EDGES, dtype)
    state = {f"logits.{name}": x.detach() for name, x in user.state().items()}
    with torch.no_grad():
        expected = user.call(inputs)
    for edge in range(NUM_REAL_EDGES):
        own = {
            name: x if ROLES[name] == "shared" else x[edge : edge + 1] for name, x in inputs.items()
        }
        result = interpret(program, own | state)["logits"]
        assert_close(result, expected[edge : edge + 1], equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_program_computes_what_its_function_computes(name: str, dtype: torch.dtype) -> None:
    check_edge_by_edge(FUNCTIONS[name], dtype)


@pytest.mark.parametrize("module", [Perceptron, Wrapped])
def test_the_parameters_and_buffers_of_a_module_are_inputs_of_its_program(
    module: type[nn.Module],
) -> None:
    function = module().double()
    check_edge_by_edge(function, torch.float64)
    program = captured(function)
    lifted = {name for name, spec in program.inputs.items() if spec.role == "shared"}
    assert lifted == {f"logits.{name}" for name in function.state_dict()}


@pytest.mark.parametrize("name", ["dot_product", "gatv2", "masked", "cat_and_stack"])
def test_a_program_keeps_the_element_types_of_low_precision(name: str) -> None:
    check_edge_by_edge(FUNCTIONS[name], torch.bfloat16)
    check_edge_by_edge(FUNCTIONS[name], torch.float16)


UNARY: list[Callable[[Tensor], Tensor]] = [
    torch.sin,
    torch.tanh,
    torch.abs,
    torch.neg,
    torch.square,
    torch.sigmoid,
    torch.erf,
    torch.floor,
    torch.sign,
    torch.nn.functional.gelu,
    torch.nn.functional.leaky_relu,
    torch.nn.functional.softplus,
    lambda x: x.abs().sqrt(),
    lambda x: (-x.abs()).exp(),
    lambda x: x.clamp(-0.5, 1.5),
    lambda x: torch.where(x > 0.1, x, 0.5 * x),
    lambda x: x.mean(-1, keepdim=True),
    lambda x: x.sum((1, 2), keepdim=True),
    lambda x: x.amax(1, keepdim=True),
    lambda x: x.softmax(-1),
    lambda x: x.expand(-1, HEADS, CHANNELS).transpose(1, 2).reshape(-1, HEADS, CHANNELS),
    lambda x: x.expand(-1, HEADS, CHANNELS)[..., [1, 0, 3, 3]],
    lambda x: x.expand(-1, HEADS, CHANNELS).reshape(-1, CHANNELS).cos().view(-1, HEADS, CHANNELS),
    lambda x: x.detach().clone().add_(1).mul_(x),
    lambda x: 2.0 - x,
    lambda x: 1 / (1 + x * x),
]
BINARY: list[Callable[[Tensor, Tensor], Tensor]] = [
    torch.add,
    torch.sub,
    torch.mul,
    torch.maximum,
    torch.minimum,
    torch.atan2,
    lambda x, y: x / (1 + y.abs()),
    lambda x, y: torch.add(x, y, alpha=-0.5),
    lambda x, y: torch.where((x < y) | (y > 1), x, y + 1),
    lambda x, y: torch.lerp(x, y, 0.25),
    lambda x, y: (
        torch.cat([x, y], dim=2)[:, :, ::2].mean(-1, keepdim=True)
        if x.shape[:2] == y.shape[:2]
        else x * y
    ),
]


def random_function(seed: int) -> Callable[..., Tensor]:
    """A composition of twelve random operations on two edge inputs and a shared one."""

    def function(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
        draw = random.Random(seed)
        pool = [query, key, vector.unsqueeze(0)]
        for _ in range(12):
            if draw.random() < 0.5:
                pool.append(draw.choice(UNARY)(draw.choice(pool)))
            else:
                pool.append(draw.choice(BINARY)(draw.choice(pool), draw.choice(pool)))
        total = query * 0
        for x in pool[-3:]:
            total = total + x
        return total.sum(-1)

    return function


@pytest.mark.parametrize("seed", range(40))
def test_a_random_program_computes_what_its_function_computes(seed: int) -> None:
    check_edge_by_edge(random_function(seed), torch.float64)


def test_every_function_of_an_attention_becomes_one_program() -> None:
    def message(value: Tensor, query: Tensor) -> Tensor:
        return value * query.sigmoid()

    def edge_output(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
        return (query * key / CHANNELS**0.5 * edge).clamp(-5, 5).flatten(1)

    functions = {
        "logits": UserFunction.of(channel_wise, "score"),
        "message": UserFunction.of(message, "message"),
        "edge_output": UserFunction.of(edge_output, "edge_output"),
    }
    inputs: dict[str, Tensor] = {}
    for user in functions.values():
        inputs |= inputs_of(user, NUM_REAL_EDGES)
    specs = {
        name: InputSpec(ROLES[name], tuple(x.shape[1:]), x.dtype) for name, x in inputs.items()
    }
    program = capture(functions, specs, {})
    assert (program.num_heads, program.channels) == (HEADS, CHANNELS)
    # What score and edge output have in common is computed once.
    assert sum(step.operation == "div" for step in program.steps) == 1
    for edge in range(NUM_REAL_EDGES):
        result = interpret(program, {name: x[edge : edge + 1] for name, x in inputs.items()})
        for name, user in functions.items():
            assert_close(result[name], user.call(inputs)[edge : edge + 1])


def test_a_program_is_made_of_known_operations_alone() -> None:
    moving = {"constant", "fill", "cast", "view", "expand", "permute", "slice", "take", "cat"}
    known = {*POINTWISE.values(), *REDUCTIONS, *moving, "matmul"}
    used = {step.operation for f in FUNCTIONS.values() for step in captured(f).steps}
    assert used <= known


def test_shared_steps_are_told_from_those_of_edges() -> None:
    def score(query: Tensor, vector: Tensor) -> Tensor:
        return query.sum(-1) + vector.exp().sum(-1)

    by_name = [(step.operation, step.per_edge) for step in captured(score).steps]
    assert ("sum", True) in by_name
    assert ("sum", False) in by_name


def test_equal_work_is_one_step_and_unused_work_is_none() -> None:
    def score(query: Tensor, key: Tensor) -> Tensor:
        query.exp().sum()  # never used, and mixes no edge that matters
        return (query * key).sum(-1) + (query * key).sum(-1)

    with pytest.raises(ValueError, match="sum mixes edges"):
        captured(score)

    def clean(query: Tensor, key: Tensor) -> Tensor:
        query.exp().sum(-1)
        return (query * key).sum(-1) + (query * key).sum(-1)

    assert [step.operation for step in captured(clean).steps] == ["mul", "sum", "add"]


def test_a_detached_tensor_stays_detached_in_the_program() -> None:
    def score(query: Tensor, key: Tensor) -> Tensor:
        return (query.detach() * key).sum(-1)

    assert [step.operation for step in captured(score).steps] == ["detach", "mul", "sum"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_text_of_a_program_holds_no_number_of_edges(name: str) -> None:
    text = str(captured(FUNCTIONS[name]))
    for size in (*NUM_EDGES, *(HEADS * edges for edges in NUM_EDGES)):
        assert str(size) not in text


def test_a_function_made_anew_has_the_same_text() -> None:
    texts = {str(captured(lambda query, key: (query * key).sum(-1) * 0.5)) for _ in range(3)}
    assert len(texts) == 1
    assert str(captured(lambda query, key: (query * key).sum(-1) * 0.25)) not in texts


def test_other_sizes_and_types_have_another_text() -> None:
    texts = {str(captured(dot_product, dtype)) for dtype in (torch.float32, torch.float64)}
    assert len(texts) == 2


def test_a_python_number_given_to_the_function_is_part_of_the_program() -> None:
    def score(query: Tensor, slope: float) -> Tensor:
        return query.sum(-1) * slope

    specs = {"query": InputSpec("target", (HEADS, CHANNELS), torch.float64)}
    functions = {"logits": UserFunction.of(score, "score")}
    texts = [str(capture(functions, specs, {"slope": slope})) for slope in (0.25, 0.5)]
    assert "0.25" in texts[0]
    assert "0.5" in texts[1]


def test_constants_may_be_nan_and_infinite() -> None:
    def score(query: Tensor) -> Tensor:
        return query.sum(-1) * torch.tensor([torch.nan, torch.inf, -torch.inf])

    check_edge_by_edge(score, torch.float64)


def test_constants_of_double_precision_keep_it() -> None:
    def score(query: Tensor) -> Tensor:
        return query.sum(-1) * torch.tensor(1 / 3, dtype=torch.float64)

    specs = {"query": InputSpec("target", (HEADS, CHANNELS), torch.float64)}
    assert repr(1 / 3) in str(capture({"logits": UserFunction.of(score, "score")}, specs, {}))
