"""Explainers and hooks: whatever looks into message passing finds what PyG has there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING, layer_pair, layer_types
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer

HOOKS = [
    "propagate_forward_pre",
    "propagate_forward",
    "message_forward_pre",
    "message_forward",
    "aggregate_forward_pre",
    "aggregate_forward",
    "edge_update_forward_pre",
    "edge_update_forward",
]


class Network(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = kind(4, 3, heads=2, edge_dim=2)
        self.second = kind(6, 3)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        hidden = self.first(x, edge_index, edge_attr).relu()
        output: Tensor = self.second(hidden, edge_index)
        return output


@pytest.fixture
def graph() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(9, 4), bipartite_edges(9, 9, 30), torch.randn(30, 2)


@pytest.mark.parametrize("algorithm", [GNNExplainer, AttentionExplainer])
@pytest.mark.parametrize("name", LAYERS)
def test_explainers_give_the_same_masks(
    name: str, algorithm: Any, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, edge_index, edge_attr = graph
    explanations = []
    for kind in layer_types(name):
        network = Network(kind)
        before = network(*graph)
        learned = algorithm is GNNExplainer
        explainer = Explainer(
            network,
            GNNExplainer(epochs=8, lr=0.1) if learned else AttentionExplainer(),
            explanation_type="model",
            node_mask_type="attributes" if learned else None,
            edge_mask_type="object",
            model_config={
                "mode": "multiclass_classification",
                "task_level": "node",
                "return_type": "raw",
            },
        )
        torch.manual_seed(2)
        explanations.append(explainer(x, edge_index, edge_attr=edge_attr, index=4))
        torch.testing.assert_close(network(*graph), before)  # nothing is left behind
    ours, theirs = explanations
    assert theirs.edge_mask.unique().numel() > 5
    torch.testing.assert_close(ours.edge_mask, theirs.edge_mask, rtol=1e-4, atol=1e-5)
    if algorithm is GNNExplainer:
        torch.testing.assert_close(ours.node_mask, theirs.node_mask, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("apply_sigmoid", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_edge_masks_have_the_same_gradients(
    name: str, apply_sigmoid: bool, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    results = []
    initial = torch.rand(30)
    for layer in layer_pair(name, heads=2, edge_dim=2):
        mask = initial.clone().requires_grad_()
        layer.explain = True
        layer._edge_mask, layer._loop_mask = mask, graph[1][0] != graph[1][1]
        layer._apply_sigmoid = apply_sigmoid
        x = graph[0].clone().requires_grad_()
        output = layer(x, *graph[1:])
        output.square().sum().backward()
        results.append((output, mask.grad, x.grad))
    ours, theirs = results
    assert theirs[1] is not None
    assert theirs[1].any()
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_the_mask_may_be_applied_in_a_way_of_ones_own(
    name: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    def explain_message(self: nn.Module, inputs: Tensor, dim_size: int) -> Tensor:
        return inputs * (1 + torch.arange(inputs.shape[0])[:, None, None])

    outputs = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        layer.explain_message = explain_message.__get__(layer)
        plain = layer(*graph)
        layer.explain = True
        outputs.append(layer(*graph))
        assert not torch.allclose(outputs[-1], plain)
        layer.explain = False
        torch.testing.assert_close(layer(*graph), plain)
    torch.testing.assert_close(outputs[0], outputs[1])


PEER_FIRST = """
import torch, torch_geometric.nn, graphattn.nn
torch_geometric.nn.NAME(4, 3)
layer = graphattn.nn.NAME(4, 3)
def explain_message(self, inputs, dim_size):
    return 2 * inputs
layer.explain_message = explain_message.__get__(layer)
x, edge_index = torch.randn(3, 4), torch.tensor([[0, 1, 2], [1, 2, 0]])
plain = layer(x, edge_index)
layer.explain = True
print(torch.allclose(layer(x, edge_index), plain))
"""


@pytest.mark.parametrize("name", LAYERS)
def test_it_does_not_matter_whose_layer_is_made_first(name: str, tmp_path: Path) -> None:
    script = tmp_path / "peer_first.py"  # a file, since PyTorch Geometric reads sources
    script.write_text(PEER_FIRST.replace("NAME", name))
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def _flat(value: Any) -> list[Any]:
    """Leaves of nested arguments, dictionaries by key; modules by the name of their class."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _flat(part)]
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in (key, *_flat(value[key]))]
    return [type(value).__name__ if isinstance(value, nn.Module) else value]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", LAYERS)
def test_hooks_are_called_with_the_same_arguments(
    name: str, hook: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    calls: list[list[Any]] = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        seen: list[Any] = []
        # The hook says nothing: it only looks.
        handle = getattr(layer, f"register_{hook}_hook")(
            lambda *arguments, seen=seen: seen.extend(_flat(arguments))
        )
        layer(*graph)
        handle.remove()
        length = len(seen)
        layer(*graph)
        assert len(seen) == length  # once removed, never called
        calls.append(seen)
    ours, theirs = calls
    assert len(theirs) > 0 or (hook.startswith("edge_update") and name == "TransformerConv")
    assert len(ours) == len(theirs)
    for actual, expected in zip(ours, theirs, strict=True):
        if isinstance(expected, Tensor):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        else:
            assert actual == expected


@pytest.mark.parametrize("hook", ["message_forward", "aggregate_forward", "propagate_forward"])
@pytest.mark.parametrize("name", LAYERS)
def test_hooks_may_change_what_flows(
    name: str, hook: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    outputs = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        plain = layer(*graph)
        handle = getattr(layer, f"register_{hook}_hook")(lambda *arguments: arguments[-1] ** 2)
        outputs.append(layer(*graph))
        assert not torch.allclose(outputs[-1], plain)
        handle.remove()
        torch.testing.assert_close(layer(*graph), plain)
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("name", SELF_LOOPING)
def test_a_hook_may_change_the_attention_weights(
    name: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    outputs = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        layer.register_edge_update_forward_hook(lambda *arguments: arguments[-1].round())
        outputs.append(layer(*graph, return_attention_weights=True))
    (ours, (_, our_weights)), (theirs, (_, weights)) = outputs
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(our_weights, weights)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_ordinary_module_hooks_run(name: str, graph: tuple[Tensor, Tensor, Tensor]) -> None:
    ours, _ = layer_pair(name, heads=2, edge_dim=2)
    plain = ours(*graph)
    ours.register_forward_hook(lambda module, arguments, output: output + 1)
    torch.testing.assert_close(ours(*graph), plain + 1)
