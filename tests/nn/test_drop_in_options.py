"""Every constructor option of the drop-in layers, each two of them together, beside PyG."""

from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, Call, assert_drop_in, layer_pair, layer_types, run
from drop_in_graphs import bipartite_edges
from pairwise import Case, all_pairs

COMMON: dict[str, list[Any]] = {
    "heads": [1, 2],
    "concat": [True, False],
    "dropout": [0.0, 0.4],
    "bias": [True, False],
    "edge_dim": [None, 1, 3],
    "flow": ["source_to_target", "target_to_source"],
    "aggr": ["sum", "add", "mean", "max"],
    "separate": [False, True],  # in_channels is a tuple
    "pair": [False, True],  # x is a tuple
    "training": [False, True],
}
GAT: dict[str, list[Any]] = COMMON | {
    "negative_slope": [0.2, 0.05],
    "add_self_loops": [True, False],
    "fill_value": ["mean", "add", "min", "max", "mul", 0.5, torch.tensor(0.3), "vector"],
    "residual": [False, True],
    "flat_edge_attr": [False, True],
}
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "GATConv": GAT,
    "GATv2Conv": GAT | {"share_weights": [False, True]},
    "TransformerConv": COMMON | {"beta": [False, True], "root_weight": [True, False]},
}
NOT_OF_THE_CONSTRUCTOR = ("separate", "pair", "training", "flat_edge_attr")


def allowed(case: Case) -> bool:
    if case.get("pair") and case.get("flow") == "target_to_source":
        return False  # has rules of its own: test_drop_in_bipartite.py
    if case.get("flat_edge_attr") and case.get("edge_dim", 1) != 1:
        return False
    # Each slope is compiled anew for each number of heads, with edge features and without.
    slope, heads = case.get("negative_slope"), case.get("heads")
    has_features = bool(case.get("edge_dim") or case.get("flat_edge_attr"))
    if slope == 0.05 and heads is not None and (has_features or "edge_dim" in case):
        return has_features == (heads == 2)
    return True


CASES = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, options in OPTIONS.items()
    for number, case in enumerate(all_pairs(options, allowed))
]


@pytest.mark.parametrize("name", LAYERS)
def test_every_two_values_of_options_meet_in_some_case(name: str) -> None:
    options = OPTIONS[name]
    cases = all_pairs(options, allowed)
    for first in options:
        for second in options:
            for one in options[first]:
                for other in options[second]:
                    wanted = {first: one, second: other}
                    if len(wanted) == 2 and allowed(wanted):
                        assert any(all(c[k] is v for k, v in wanted.items()) for c in cases), wanted


def call_and_constructor(case: Case) -> tuple[Call, dict[str, Any]]:
    arguments = {key: value for key, value in case.items() if key not in NOT_OF_THE_CONSTRUCTOR}
    target_width = 6 if case["separate"] and not case.get("share_weights") else 4
    arguments["in_channels"] = (4, target_width) if case["separate"] else 4
    if case["separate"] and not case["pair"]:
        arguments["in_channels"] = (4, 4)
    if arguments.get("fill_value") == "vector":
        arguments["fill_value"] = torch.linspace(-1, 1, case["edge_dim"] or 1)
    x: Any = torch.randn(7, 4)
    if case["pair"]:
        x = (x, torch.randn(5, target_width))
    edge_index = bipartite_edges(7, 5, 24)
    edge_attr = None if case["edge_dim"] is None else torch.randn(24, case["edge_dim"])
    if edge_attr is not None and case.get("flat_edge_attr"):
        edge_attr = edge_attr.flatten()
    return Call(x, edge_index, edge_attr), arguments


@pytest.mark.parametrize(("name", "case"), CASES)
def test_same_values_and_gradients_under_options(name: str, case: Case) -> None:
    call, arguments = call_and_constructor(case)
    pair = layer_pair(name, **arguments)
    for layer in pair:
        layer.train(case["training"])
    assert_drop_in(pair, call, seed=5)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_same_parameters_are_left_without_gradient(name: str, case: Case) -> None:
    # An optimiser with weight decay treats a gradient of zeros and no gradient differently.
    call, arguments = call_and_constructor(case)
    ours, theirs = (run(layer, call).gradients for layer in layer_pair(name, **arguments))
    assert {n for n, g in ours.items() if g is None} == {n for n, g in theirs.items() if g is None}


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_sees_in_channels_and_options_as_attributes(name: str) -> None:
    ours, theirs = layer_pair(name, (4, 6), 3, heads=2, edge_dim=5, dropout=0.1)
    plain = {
        key: value
        for key, value in vars(theirs).items()
        if isinstance(value, int | float | str | tuple | None) and not key.startswith("_")
    }
    assert plain["in_channels"] == (4, 6)
    assert {key: getattr(ours, key) for key in plain} == plain


@pytest.mark.parametrize(
    "fill_value",
    [2, None, "sum", torch.ones(1, 3), torch.arange(21.0).view(7, 3)],
    ids=["integer", "None", "sum", "one row", "a row for each node"],
)
@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
def test_rarer_ways_to_fill_self_loops(name: str, fill_value: Any) -> None:
    pair = layer_pair(name, heads=2, edge_dim=3, fill_value=fill_value)
    assert_drop_in(pair, Call(torch.randn(7, 4), bipartite_edges(7, 7, 20), torch.randn(20, 3)))


@pytest.mark.parametrize("aggr", ["min", "mul", "median", "softmax", ["sum", "mean"]], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_other_aggregations_take_their_usual_way(name: str, aggr: Any) -> None:
    # A list makes twice the rows, which no skip connection fits.
    options = {"root_weight": False} if name == "TransformerConv" else {}
    pair = layer_pair(name, heads=2, aggr=aggr, **options)
    assert_drop_in(pair, Call(torch.randn(7, 4), bipartite_edges(7, 7, 20)))


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
def test_edge_features_may_be_absent_though_edge_dim_is_set(name: str) -> None:
    pair = layer_pair(name, heads=2, edge_dim=3)
    assert_drop_in(pair, Call(torch.randn(7, 4), bipartite_edges(7, 7, 20)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [{"node_dim": 0}, {"flow": "sideways"}, {"no_such_option": 1}])
def test_the_same_options_are_refused(name: str, options: dict[str, Any]) -> None:
    our_type, their_type = layer_types(name)
    with pytest.raises((TypeError, ValueError)) as theirs:
        their_type(4, 3, **options)
    with pytest.raises(theirs.type):
        our_type(4, 3, **options)
