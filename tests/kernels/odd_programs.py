"""Scores and messages of unusual form, each of which a backend once got wrong."""

from collections.abc import Callable
from typing import Any

import torch
from contract_runs import assert_near, random_edges, run, wide
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges


def value_itself(value: Tensor) -> Tensor:
    return value


def dot(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def one_logit_for_all_heads(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum((-1, -2)).unsqueeze(-1).expand(-1, query.shape[1])


def whole_numbers_reduced(query: Tensor, key: Tensor) -> Tensor:
    largest = (query.round().long() - 7).amax(-1) + (key.round().long() + 7).amin(-1)
    return largest.to(query) * 0.1 + dot(query, key)


def whole_numbers_divided(query: Tensor, key: Tensor) -> Tensor:
    count = (query > 0).long().sum(-1)
    return count / ((key[..., 0] > 0).long() + 2) + dot(query, key)


def mixed_types(query: Tensor, key: Tensor) -> Tensor:
    return torch.maximum(query.round().long(), key).sum(-1) + dot(query, key)


def flags_added(query: Tensor, key: Tensor) -> Tensor:
    return ((query > 0) + (key > 0)).to(query).sum(-1) + dot(query, key)


def number_to_a_power(query: Tensor, key: Tensor) -> Tensor:
    return 3.0 ** dot(query, key).tanh() + query[..., 0].sign().exp()


def long_table(query: Tensor, key: Tensor) -> Tensor:
    return (query * key)[..., [0, 1] * 120].sum(-1) / 120


def empty_parts(query: Tensor, key: Tensor) -> Tensor:
    return (torch.cat([query[..., :0], key, query[..., :0]], -1) * 2).sum(-1)


def scaled_by_a_table(value: Tensor) -> Tensor:
    return value[..., [2, 0, 1, 1]] * torch.arange(4.0).to(value)


def through_a_folded_matrix(source: Tensor, matrix: Tensor) -> Tensor:
    folded = matrix.view(16, 2, 2, 16).transpose(1, 2).reshape(32, 32)
    return source @ folded


SCORES = {
    score.__name__: score
    for score in (
        one_logit_for_all_heads,
        whole_numbers_reduced,
        whole_numbers_divided,
        mixed_types,
        flags_added,
        number_to_a_power,
        long_table,
        empty_parts,
    )
}
MESSAGES = {message.__name__: message for message in (scaled_by_a_table, through_a_folded_matrix)}


def check_score(score: Callable[..., Tensor], backend: Any) -> None:
    """A score gives what the definition gives in float64, gradients included."""
    roles: dict[str, Any] = {"target": ["query"], "source": ["key", "value"]}
    rows = {"query": 4, "key": 5, "value": 5}
    _check(score, value_itself, roles, rows, dict.fromkeys(rows, (4, 3)), backend)


def check_message(name: str, backend: Any) -> None:
    """A message, likewise."""
    if name == "scaled_by_a_table":
        roles: dict[str, Any] = {"target": ["query"], "source": ["key", "value"]}
        rows = {"query": 4, "key": 5, "value": 5}
        _check(dot, MESSAGES[name], roles, rows, dict.fromkeys(rows, (2, 4)), backend)
        return
    roles = {"target": ["query"], "source": ["key", "source"], "shared": ["matrix"]}
    shapes = {"query": (2, 3), "key": (2, 3), "source": (2, 32), "matrix": (16, 4, 16)}
    rows = {"query": 4, "key": 5, "source": 5}
    _check(dot, MESSAGES[name], roles, rows, shapes, backend)


def _check(
    score: Callable[..., Tensor],
    message: Callable[..., Tensor],
    roles: dict[str, Any],
    rows: dict[str, int],
    shapes: dict[str, tuple[int, ...]],
    backend: Any,
) -> None:
    torch.manual_seed(0)
    edges = Edges.from_edge_index(random_edges(5, 4, 13), 5, 4)
    inputs = {
        name: torch.randn(*([rows[name]] if name in rows else []), *shape)
        for name, shape in shapes.items()
    }
    compiled = EdgeAttention(score, message, backend=backend, **roles)
    plain = EdgeAttention(score, message, backend="reference", check=False, **roles)
    expected = run(plain, edges, wide(inputs), cotangent_type=torch.float32)
    assert_near(run(compiled, edges, inputs), expected, torch.float32)
