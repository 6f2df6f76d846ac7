"""The Set Transformer as an aggregation: PyTorch Geometric's own parameters, and bad input."""

from typing import Any

import pytest
import torch
import torch_geometric.nn.aggr as pyg
from torch import nn
from torch.testing import assert_close

from graphattn.nn import SetTransformerAggregation

C = 8
INDEX = torch.tensor([0, 0, 1, 1, 1])


def made(**options: Any) -> list[nn.Module]:
    """Ours and PyTorch Geometric's, for the same seed."""
    layers = []
    for kind in (SetTransformerAggregation, pyg.SetTransformerAggregation):
        torch.manual_seed(0)
        layers.append(kind(C, heads=2, **options))
    return layers


def assert_same_parameters(ours: nn.Module, theirs: nn.Module) -> None:
    for own, other in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert own[0] == other[0]
        assert torch.equal(own[1], other[1]), own[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_encoder_blocks": 2, "num_decoder_blocks": 0, "layer_norm": True, "dropout": 0.1},
        {"num_seed_points": 3, "num_encoder_blocks": 0, "concat": False},
    ],
    ids=["defaults", "two encoders", "no encoder"],
)
def test_it_begins_and_begins_anew_as_pytorch_geometrics(options: dict[str, Any]) -> None:
    ours, theirs = made(**options)
    assert_same_parameters(ours, theirs)
    assert repr(ours) == repr(theirs)
    assert ours.concat == theirs.concat
    for layer in (ours, theirs):
        torch.manual_seed(1)
        layer.reset_parameters()
    assert_same_parameters(ours, theirs)


def test_it_gives_for_the_same_seed_what_pytorch_geometrics_gives() -> None:
    ours, theirs = made(num_seed_points=2)
    x = torch.randn(5, C)
    assert_close(ours(x, INDEX), theirs(x, INDEX))
    assert_close(ours(x, INDEX.int()), theirs(x, INDEX.int()))


def test_bad_input_is_named() -> None:
    layer: Any = SetTransformerAggregation(C, heads=2)
    x = torch.randn(5, C)
    with pytest.raises(ValueError, match=r"x must be \(5, 8\), got \(5, 7\)"):
        layer(x[:, 1:], INDEX)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        layer(x.long(), INDEX)
    with pytest.raises(ValueError, match=r"index must be \(5,\), got \(4,\)"):
        layer(x, INDEX[1:])
    with pytest.raises(TypeError, match=r"index must be an int64 tensor, got torch\.int16"):
        layer(x, INDEX.short())
    with pytest.raises(ValueError, match="ptr must end at the 5 rows of x, got 4"):
        layer(x, ptr=torch.tensor([0, 2, 4]))
