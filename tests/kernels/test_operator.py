"""Attention as operators: sound by PyTorch's own checks, the same numbers as eager, safe."""

from typing import Any

import pytest
import torch
from attention_cases import attention, bipartite, inputs_for, structures
from contract_programs import CASES, Case
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.blocks_in_graph import arguments_of, mask_of_draw
from graphattn.compiled import OWN, states
from graphattn.dropout import drawn_mask
from graphattn.edge_list import EdgeList, drop_weights, group_by_target
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.checks import plan_of
from graphattn.kernels.edge_attention.definition import attend
from graphattn.kernels.program.serialize import to_text
from graphattn.normalizers import FusedNormalizer, is_fused
from graphattn.operator import edge_attention, edge_attention_backward

FLAGS = {"return_weights": True, "return_logits": True}


def recorded(layer: EdgeAttention, inputs: dict[str, Tensor]) -> str:
    """The text of a layer's program."""
    return to_text(layer._compiled.plan(inputs, layer.functions).program)


def arguments(
    layer: EdgeAttention,
    edges: Edges | Blocks,
    inputs: dict[str, Tensor],
    keep: Tensor | None = None,
    scale: float = 1.0,
    wants: bool = True,
) -> tuple[Any, ...]:
    text = recorded(layer, inputs)
    given = [inputs[name] for name in plan_of(text).program.inputs]
    of_blocks = isinstance(edges, Blocks)
    ends, *rest = arguments_of(edges) if of_blocks else EdgeList.of(edges).arguments()
    return given, ends, keep, text, *rest, scale, wants, wants


def sets() -> tuple[Blocks, EdgeAttention, dict[str, Tensor]]:
    """Of five queries and four keys, an attention without edge features, and its inputs."""
    blocks = Blocks.from_ptr(torch.tensor([0, 2, 2, 5]), torch.tensor([0, 1, 3, 4]))
    layer = EdgeAttention(
        lambda query, key: (query * key).sum(-1),
        lambda value: value,
        target=["query"],
        source=["key", "value"],
    )
    rows = {"query": 5, "key": 4, "value": 4}
    inputs = {name: torch.randn(n, 2, 3, dtype=torch.float64) for name, n in rows.items()}
    return blocks, layer, {name: x.requires_grad_() for name, x in inputs.items()}


@pytest.mark.parametrize("wants", [False, True])
def test_the_forward_operator_passes_pytorchs_checks(wants: bool) -> None:
    edges = bipartite()
    inputs = inputs_for(edges, requires_grad=True)
    keep = torch.ones(edges.num_edges, 2, dtype=torch.uint8)
    torch.library.opcheck(edge_attention, arguments(attention(), edges, inputs, keep, 1.0, wants))


def test_the_backward_operator_passes_pytorchs_checks() -> None:
    edges = bipartite()
    given = arguments(attention(), edges, inputs_for(edges), wants=False)
    output, norm = edge_attention(*given)
    gradients = [torch.ones_like(output), None, None, None]
    torch.library.opcheck(edge_attention_backward, (*given, [output, norm], gradients, [0, 1, 3]))


@pytest.mark.parametrize("draw", [None, torch.tensor([5, 1 << 30])], ids=["all", "dropout"])
@pytest.mark.parametrize("wants", [False, True])
def test_on_blocks_the_operators_pass_pytorchs_checks(draw: Tensor | None, wants: bool) -> None:
    given = arguments(*sets()[1::-1], sets()[2], draw, 4 / 3, wants)
    torch.library.opcheck(edge_attention, given)
    inputs = [x.detach() for x in given[0]]
    output, *left = edge_attention(inputs, *given[1:])
    gradients = [torch.ones_like(output), None, None, None]
    left = [output, *left[: 1 + wants]]  # norm, and weights if they were wanted
    torch.library.opcheck(edge_attention_backward, (inputs, *given[1:], left, gradients, [0, 2]))


def test_the_operators_of_structures_pass_pytorchs_checks() -> None:
    edges = bipartite()
    sizes = (edges.num_sources, edges.num_targets)
    for self_loops in (False, True):
        given = EdgeList([edges.edge_index], *sizes, self_loops=self_loops).arguments()
        # It draws other numbers at each call.
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(drop_weights, (*given, 2, 0.5), test_utils=checks)
        if not self_loops:
            torch.library.opcheck(group_by_target, given)
    torch.library.opcheck(mask_of_draw, (torch.tensor([5, 1 << 30]), 7, 2))


@pytest.mark.parametrize("name", structures())
def test_results_and_gradients_are_those_of_eager_mode_bit_for_bit(name: str) -> None:
    edges, layer = structures()[name], attention()
    inputs = inputs_for(edges, requires_grad=True)
    output, _, weights, logits = edge_attention(*arguments(layer, edges, inputs))
    found, expected = [output, weights, logits], list(layer(edges, **inputs, **FLAGS))
    assert all(map(torch.equal, found, expected))
    ours, theirs = (
        torch.autograd.grad(sum(x.square().sum() for x in results), list(inputs.values()))
        for results in (found, expected)
    )
    assert all(map(torch.equal, ours, theirs))


def test_dropout_is_that_of_eager_mode() -> None:
    edges, layer = bipartite(), attention()
    inputs = inputs_for(edges)
    torch.manual_seed(3)
    ends, *rest = EdgeList.of(edges).arguments()
    keep = drop_weights(ends, *rest, 2, 0.4)
    found = edge_attention(*arguments(layer, edges, inputs, keep, 1 / 0.6))[0]
    torch.manual_seed(3)
    assert torch.equal(found, layer(edges, **inputs, dropout=0.4))


def test_on_blocks_results_and_gradients_are_those_of_eager_mode() -> None:
    blocks, layer, inputs = sets()
    draw = torch.tensor([5, 1 << 31])
    output, _, weights, logits = edge_attention(*arguments(layer, blocks, inputs, draw, 2.0))
    kept = drawn_mask(draw, (blocks.num_edges, 2))
    rows = torch.zeros_like(output).index_add(
        0, blocks.target, (weights * kept * 2).unsqueeze(-1) * inputs["value"][blocks.source]
    )
    torch.testing.assert_close(output, rows)
    expected = list(layer(blocks, **inputs, **FLAGS))
    assert all(map(torch.equal, [weights, logits], expected[1:]))
    found = torch.autograd.grad(output.square().sum(), list(inputs.values()), retain_graph=True)
    wanted = torch.autograd.grad(rows.square().sum(), list(inputs.values()))
    for one, another in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, another)


FUSED = {name: case for name, case in CASES.items() if is_fused(case.normalizer(1))}


@pytest.mark.parametrize("case", FUSED.values(), ids=FUSED)
def test_the_definition_from_the_text_is_that_of_the_users_functions(case: Case) -> None:
    edges, layer = bipartite(), case.layer(3, 5, backend="reference")
    inputs = case.inputs(edges, 3, 5, torch.float32)
    expected = layer(edges, **inputs, **FLAGS)
    normalizer = layer.normalizer
    assert isinstance(normalizer, FusedNormalizer)
    own = normalizer.inputs(edges)
    sink = own.pop("sink")[1].expand(3) if "sink" in own else None
    names = list(layer.functions)
    plan = layer._compiled.plan(inputs, names, normalizer.reduction, normalizer, own)
    program = plan_of(to_text(plan.program)).program
    tensors = inputs | states(layer.functions)
    tensors |= {f"{OWN}{name}": x for name, (_, x) in own.items()}
    found = attend(program, tensors, edges.source, edges.target, edges.num_targets, sink=sink)
    wanted = ["output", *(["edge_output"] if layer.edge_output else []), "weights", "logits"]
    for key, result in zip(wanted, expected, strict=True):
        torch.testing.assert_close(found[key], result)


@pytest.mark.parametrize("name", ["random", "no edges", "no nodes"])
def test_second_derivatives_are_those_of_eager_mode(name: str) -> None:
    edges, layer = structures()[name], attention()
    inputs = inputs_for(edges, requires_grad=True)
    leaves = list(inputs.values())

    def twice(results: list[Tensor]) -> tuple[Tensor, ...]:
        total = sum(x.square().sum() for x in results)
        first = torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)
        total = sum(x.square().sum() for x in first)
        return torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)

    output, _, weights, logits = edge_attention(*arguments(layer, edges, inputs))
    found, expected = twice([output, weights, logits]), twice(list(layer(edges, **inputs, **FLAGS)))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_runs_under_a_mode_that_counts_operations() -> None:
    edges = bipartite()
    inputs = inputs_for(edges, requires_grad=True)
    given = arguments(attention(), edges, inputs, wants=False)
    plan_of.cache_clear()  # the derivative is recorded anew, and within the mode
    with FlopCounterMode(display=False):
        found = torch.autograd.grad(edge_attention(*given)[0].sum(), list(inputs.values()))
    expected = torch.autograd.grad(edge_attention(*given)[0].sum(), list(inputs.values()))
    assert all(map(torch.equal, found, expected))


def test_the_norm_is_no_result_to_differentiate() -> None:
    edges = bipartite()
    inputs = inputs_for(edges, requires_grad=True)
    results = edge_attention(*arguments(attention(), edges, inputs))
    assert [x.requires_grad for x in results] == [True, False, True, True]


def test_an_edge_list_is_sorted_once_and_again_when_it_has_changed() -> None:
    edges = bipartite()
    given = EdgeList.of(edges)
    first = given.structure()
    assert EdgeList.of(edges).structure() is first
    assert EdgeList(given.ends, 6, 6).structure() is not first
    edges.source[0] = (edges.source[0] + 1) % edges.num_sources
    changed = EdgeList.of(edges).structure()
    assert changed is not first
    assert torch.equal(changed.source, edges.source)


def test_what_a_compiler_writes_to_a_list_or_to_borders_is_seen() -> None:
    edges = bipartite()
    inputs = inputs_for(edges)
    given, ends, *rest = arguments(attention(), edges, inputs)
    edge_attention(given, ends, *rest)
    other = (edges.source + 1) % edges.num_sources
    ends[0].data.copy_(other)  # as generated code does: it counts as no change
    changed = Edges.from_edge_index(torch.stack([other, edges.target]), 6, 5)
    expected = attention()(changed, **inputs)
    assert torch.equal(edge_attention(given, ends, *rest)[0], expected)

    blocks, layer, inputs = sets()
    given, ends, *rest = arguments(layer, blocks, inputs)
    borders = [end.clone() for end in ends]
    edge_attention(given, borders, *rest)
    for border, now in zip(borders, ([0, 3, 5, 5], [0, 1, 2, 4]), strict=True):
        border.data.copy_(torch.tensor(now))
    expected = layer(Blocks.from_ptr(*(border.clone() for border in borders)), **inputs)
    assert torch.equal(edge_attention(given, borders, *rest)[0], expected)


def test_bad_input_is_refused_before_a_kernel_sees_it() -> None:
    edges = bipartite()
    inputs = inputs_for(edges)
    given, ends, _, *rest = arguments(attention(), edges, inputs)
    keep = torch.ones(edges.num_edges, 2, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"inputs must be 5 tensors, .* got 4"):
        edge_attention(given[:-1], ends, None, *rest)
    with pytest.raises(ValueError, match=r"query must be \(5, 2, 3\), got \(4, 2, 3\)"):
        edge_attention([given[0][:-1], *given[1:]], ends, None, *rest)
    with pytest.raises(TypeError, match=r"query must be torch.float64, got torch.float32"):
        edge_attention([given[0].float(), *given[1:]], ends, None, *rest)
    with pytest.raises(ValueError, match=r"keep must be uint8 \(20, 2\)"):
        edge_attention(given, ends, keep[1:], *rest)
    with pytest.raises(IndexError, match=r"must lie in \[0, 6\), got "):
        edge_attention(given, [ends[0] + 6, ends[1]], None, *rest)
    with pytest.raises(ValueError, match="text must be an edge program"):
        edge_attention(given, ends, None, "product", *rest[1:])


def test_bad_borders_sizes_and_draws_are_refused() -> None:
    given, ends, _, text, sizes, kind, *rest = arguments(*sets()[1::-1], sets()[2])
    assert sizes == [4, 5, 5]
    for wrong in ([5, 5, 5], [4, 4, 5], [4, 5, 6]):
        with pytest.raises(ValueError, match=r"numbers of keys, queries and pairs of ends, \[4, 5"):
            edge_attention(given, ends, None, text, wrong, kind, *rest)
    with pytest.raises(ValueError, match="target_ptr must rise from 0"):
        edge_attention(given, [ends[0].flip(0), ends[1]], None, text, sizes, kind, *rest)
    for draw in (torch.ones(5, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"keep must be int64 \(2,\) between the pairs"):
            edge_attention(given, ends, draw, text, sizes, kind, *rest)


def test_the_backward_operator_refuses_what_the_forward_pass_did_not_make() -> None:
    edges = bipartite()
    given = arguments(attention(), edges, inputs_for(edges), wants=False)
    output, norm = edge_attention(*given)
    with pytest.raises(ValueError, match=r"norm must be \(5, 2, 2\), got \(4, 2, 2\)"):
        edge_attention_backward(*given, [output, norm[1:]], [output, None, None, None], [0])
    with pytest.raises(ValueError, match=r"output must be \(5, 2, 3\), got \(1, 2, 3\)"):
        edge_attention_backward(*given, [output, norm], [output[:1], None, None, None], [0])
