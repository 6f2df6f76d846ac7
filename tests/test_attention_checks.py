"""What EdgeAttention refuses, naming the argument, what must hold and what came."""

from typing import Any

import pytest
import torch
from attention_cases import HEADS, ROLES, attention, bipartite, inputs_for, message, score

from graphattn.attention import EdgeAttention
from graphattn.kernels.program import CaptureError


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (torch.ones(19, HEADS), ValueError, "weights must have one row for each edge, 20"),
        (torch.ones(20), ValueError, r"weights must be \(20, H\)"),
        (torch.ones(20, HEADS, dtype=torch.int64), TypeError, "weights must be floating"),
        (torch.ones(20, HEADS, dtype=torch.bool), ValueError, "floating point"),
        ([1.0], TypeError, "weights must be a tensor, got list"),
        (torch.ones(20, HEADS, device="meta"), ValueError, "weights must be on cpu"),
        (torch.ones(20, HEADS + 1), ValueError, "message must have as many heads"),
    ],
)
def test_weights_are_checked(weights: Any, error: type[Exception], words: str) -> None:
    edges = bipartite()
    with pytest.raises(error, match=words):
        attention()(edges, weights=weights, value=inputs_for(edges)["value"])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"query": None}, TypeError, "query must be a tensor, got NoneType"),
        ({"query": torch.ones(5, 2, 3).long()}, TypeError, "query must be floating point or bool"),
        ({"query": torch.ones(4, 2, 3)}, ValueError, "one row for each target, 5, got"),
        ({"key": torch.ones(5, 2, 3)}, ValueError, "one row for each source, 6, got"),
        ({"bias": torch.ones(21, 2)}, ValueError, "one row for each edge, 20, got"),
        ({"bias": torch.ones(())}, ValueError, "one row for each edge, got"),
        ({"width": "wide"}, TypeError, "width must be a tensor, got str"),
        ({"key": torch.ones(6, 2, 3, device="meta")}, ValueError, "key must be on cpu"),
        ({"key": torch.ones(6, 2, 3).to_sparse()}, TypeError, "key must be a dense tensor"),
        ({"other": torch.ones(1)}, TypeError, "'other' is no input; the inputs are"),
        ({"key": torch.ones(6, 2, 7)}, CaptureError, "mul failed"),
        ({"value": torch.ones(6, 3)}, CaptureError, r"message must return \(E, H, C\)"),
        ({"value": torch.ones(6, 3, 3)}, ValueError, "message must have as many heads"),
    ],
)
def test_inputs_are_checked(change: dict[str, Any], error: type[Exception], words: str) -> None:
    edges = bipartite()
    with pytest.raises(error, match=words):
        attention()(edges, **{**inputs_for(edges), **change})


def test_missing_inputs_and_structures_are_named() -> None:
    edges = bipartite()
    x = inputs_for(edges)
    for name, role in (("query", "target"), ("key", "source"), ("bias", "edge")):
        some = {own: tensor for own, tensor in x.items() if own != name}
        with pytest.raises(TypeError, match=f"the {role} input '{name}' is missing"):
            attention()(edges, **some)
        with pytest.raises(TypeError, match=f"the {role} input '{name}' is missing"):
            attention().program(**some)
    with pytest.raises(TypeError, match=r"must be a graphattn\.Edges or graphattn\.Blocks, got T"):
        attention()(edges.edge_index, **x)


@pytest.mark.parametrize(
    ("roles", "error", "words"),
    [
        ({"target": []}, ValueError, "parameter 'query' of score must be named"),
        ({"source": ["key"]}, ValueError, "parameter 'value' of message must be named"),
        ({"edge": ["bias", "extra"]}, ValueError, "edge input 'extra' is a parameter of no"),
        ({"shared": ["width", "query"]}, ValueError, "'query' must have one role, got target"),
        ({"target": "query"}, TypeError, "target must be a list of names, got the string"),
        ({"shared": ["width", "dropout"]}, ValueError, "'dropout' is a name of EdgeAttention's"),
        ({"backend": "fast"}, ValueError, "backend must be one of"),
    ],
)
def test_names_and_roles_are_checked(
    roles: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        EdgeAttention(score, message, **{**ROLES, **roles})
