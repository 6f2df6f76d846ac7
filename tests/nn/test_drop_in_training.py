"""Training with the drop-in layers: dropout, state, copies, second derivatives, compilation."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from drop_in_cases import (
    LAYERS,
    SELF_LOOPING,
    Call,
    assert_close,
    assert_same,
    largest,
    layer_pair,
    layer_types,
    run,
)
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "GATConv": [{}, {"heads": 3, "edge_dim": 2, "residual": True}, {"bias": False}],
    "GATv2Conv": [{}, {"heads": 3, "edge_dim": 2, "share_weights": True}, {"residual": True}],
    "TransformerConv": [{}, {"heads": 3, "edge_dim": 2, "beta": True}, {"root_weight": False}],
}
CASES = [(name, options) for name in LAYERS for options in OPTIONS[name]]


@pytest.fixture
def call() -> Call:
    return Call(torch.randn(9, 4), bipartite_edges(9, 9, 30), torch.randn(30, 2))


@pytest.mark.parametrize("dropout", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("name", LAYERS)
def test_dropout_drops_the_same_weights_for_a_seed(name: str, dropout: float, call: Call) -> None:
    call = Call(call.x, call.edge_index, call.edge_attr, {"return_attention_weights": True})
    pair = layer_pair(name, heads=2, edge_dim=2, dropout=dropout)
    ours, theirs = (run(layer.train(), call, seed=11) for layer in pair)
    assert_same(ours, theirs)
    weights, expected = (result.returned[1][1] for result in (ours, theirs))
    assert torch.equal(weights == 0, expected == 0)
    if name in SELF_LOOPING and dropout == 0.3:  # the weights are returned as they were used
        assert 0.15 < (weights == 0).float().mean() < 0.45


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_is_for_training_only(name: str, call: Call) -> None:
    ours, _ = layer_pair(name, heads=2, edge_dim=2, dropout=0.5)
    arguments = (call.x, call.edge_index, call.edge_attr)
    quiet = ours.eval()(*arguments)
    assert torch.equal(quiet, ours(*arguments))
    assert not torch.allclose(quiet, ours.train()(*arguments))
    assert torch.equal(quiet, ours.eval()(*arguments))


@pytest.mark.parametrize("name", LAYERS)
def test_several_layers_draw_from_one_generator_in_turn(name: str, call: Call) -> None:
    first, second = layer_pair(name, 4, 3, dropout=0.4), layer_pair(name, 3, 3, dropout=0.4)
    outputs = []
    for one, other in zip(first, second, strict=True):
        torch.manual_seed(2)
        outputs.append(other(one(call.x, call.edge_index).relu(), call.edge_index))
    assert_close(outputs[0], outputs[1], "output of the second layer")


@pytest.mark.parametrize("name", LAYERS)
def test_a_few_steps_of_adam_end_at_the_same_parameters(name: str, call: Call) -> None:
    ends = []
    for layer in layer_pair(name, heads=2, edge_dim=2, dropout=0.2):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, weight_decay=0.1)
        torch.manual_seed(5)
        for _ in range(5):
            optimizer.zero_grad()
            layer(call.x, call.edge_index, call.edge_attr).square().mean().backward()
            optimizer.step()
        ends.append(layer.state_dict())
    for key, expected in ends[1].items():
        # Adam divides by the size of gradients: where they are mere rounding, steps are arbitrary.
        if key != "lin_key.bias":
            torch.testing.assert_close(ends[0][key], expected, rtol=0, atol=1e-4, msg=key)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_state_dict_loads_strictly_both_ways(name: str, options: dict[str, Any]) -> None:
    our_type, their_type = layer_types(name)
    ours, theirs = our_type(4, 3, **options), their_type(4, 3, **options)
    for source, destination in ((ours, theirs), (theirs, ours)):
        for parameter in source.parameters():
            nn.init.normal_(parameter)
        destination.load_state_dict(source.state_dict(), strict=True)
        assert list(source.state_dict()) == list(destination.state_dict())
        for key, value in source.state_dict().items():
            assert torch.equal(value, destination.state_dict()[key]), key


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_seed_gives_the_same_parameters(name: str, options: dict[str, Any]) -> None:
    states = []
    for kind in layer_types(name):
        torch.manual_seed(1)
        layer = kind(4, 3, **options)
        first = copy.deepcopy(layer.state_dict())
        torch.manual_seed(2)
        layer.reset_parameters()
        states.append((first, layer.state_dict(), torch.get_rng_state()))
    for ours, theirs in zip(states[0][:2], states[1][:2], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(states[0][2], states[1][2])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_repr_and_extra_repr(name: str, options: dict[str, Any]) -> None:
    ours, theirs = layer_pair(name, **options)
    assert repr(ours) == repr(theirs)
    assert [key for key, _ in ours.named_modules()] == [key for key, _ in theirs.named_modules()]
    assert [key for key, _ in ours.named_buffers()] == [key for key, _ in theirs.named_buffers()]


def _saved_and_loaded(layer: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "torch.save": _saved_and_loaded,
}


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("name", LAYERS)
def test_copies_give_the_same_and_are_independent(
    name: str, used: bool, kind: str, call: Call
) -> None:
    ours, _ = layer_pair(name, heads=2, edge_dim=2)
    if used:
        run(ours, call)
    other = COPIES[kind](ours)
    assert type(other) is type(ours)
    before = run(ours, call)
    assert_same(run(other, call), before, 0.0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert_same(run(ours, call), before, 0.0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_saved_state_dict_loads_as_weights_only(name: str, call: Call) -> None:
    ours, theirs = layer_pair(name, heads=2, edge_dim=2)
    run(ours, call)
    file = io.BytesIO()
    torch.save(ours.state_dict(), file)
    file.seek(0)
    theirs.load_state_dict(torch.load(file, weights_only=True))
    assert_same(run(ours, call), run(theirs, call))


def _with_parameters(layer: nn.Module, edge_index: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
    """A function of features and parameters, and points at which to differentiate it."""
    names = [key for key, _ in layer.named_parameters()]

    def function(x: Tensor, edge_attr: Tensor, *parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        output: Tensor = torch.func.functional_call(layer, state, (x, edge_index, edge_attr))
        return output

    points = [torch.randn(4, 3), torch.randn(edge_index.shape[1], 2), *layer.parameters()]
    return function, tuple(point.detach().double().requires_grad_() for point in points)


@pytest.mark.parametrize("name", LAYERS)
def test_first_and_second_derivatives_are_those_of_the_function(name: str) -> None:
    ours, _ = layer_pair(name, 3, heads=2, edge_dim=2)
    edge_index = torch.tensor([[0, 1, 2, 2, 3, 1], [1, 2, 1, 0, 0, 2]])
    function, points = _with_parameters(ours.double(), edge_index)
    assert torch.autograd.gradcheck(function, points, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, points, fast_mode=True)


@pytest.mark.parametrize("weighted", [False, True], ids=["output", "attention weights"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_gradient_penalty_has_the_same_gradients(name: str, weighted: bool, call: Call) -> None:
    penalties = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        x = call.x.clone().requires_grad_()
        output, (_, weights) = layer(
            x, call.edge_index, call.edge_attr, return_attention_weights=True
        )
        (slope,) = torch.autograd.grad(
            (weights if weighted else output).square().sum(), x, create_graph=True
        )
        slope.square().sum().backward()
        gradients = {key: parameter.grad for key, parameter in layer.named_parameters()}
        penalties.append({"x": x.grad, **gradients})
    ours, theirs = penalties
    assert theirs["x"] is not None
    for key, expected in theirs.items():
        if expected is None or ours[key] is None:
            assert all(g is None or not g.any() for g in (expected, ours[key])), key
        else:
            assert_close(ours[key], expected, key, scale=largest(theirs.values()))


@pytest.mark.parametrize("name", LAYERS)
def test_functional_call_uses_the_given_parameters(name: str, call: Call) -> None:
    outputs = []
    for layer in layer_pair(name, heads=2):
        doubled = {key: 2 * parameter for key, parameter in layer.named_parameters()}
        outputs.append(torch.func.functional_call(layer, doubled, (call.x, call.edge_index)))
        assert not torch.allclose(outputs[-1], layer(call.x, call.edge_index))
    assert_close(outputs[0], outputs[1], "output")
