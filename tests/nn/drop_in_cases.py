"""Runs a layer of ours beside PyTorch Geometric's on the same call and compares all they give."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

import graphattn.nn

LAYERS = ("GATConv", "GATv2Conv", "TransformerConv")
SELF_LOOPING = ("GATConv", "GATv2Conv")

# Largest difference allowed, in units of the largest expected number (or of 1, if that is larger:
# some gradients are zero but for rounding, such as that of a key's bias).
TOLERANCES = {
    torch.float32: 1e-5,  # sums run in another order
    torch.float64: 1e-11,
    torch.bfloat16: 2**-7,  # two roundings of numbers of that size
}

Features = Tensor | tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Call:
    """What a layer's forward is given."""

    x: Features
    edge_index: Tensor
    edge_attr: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came out: the raw return value, and gradients by name; None where there is none."""

    returned: Any
    gradients: dict[str, Tensor | None]
    generator_state: Tensor


def layer_types(name: str) -> tuple[Any, Any]:
    """Our class of that name and PyTorch Geometric's."""
    return getattr(graphattn.nn, name), getattr(torch_geometric.nn, name)


def layer_pair(
    name: str, in_channels: Any = 4, out_channels: int = 3, **options: Any
) -> tuple[nn.Module, nn.Module]:
    """Our layer and PyTorch Geometric's, with the same random parameters, biases included."""
    ours, theirs = (kind(in_channels, out_channels, **options) for kind in layer_types(name))
    if not any(is_lazy(parameter) for parameter in theirs.parameters()):
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.7)
        ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def run(layer: nn.Module, call: Call, *, seed: int = 0) -> Result:
    """Forward and backward; the cotangents depend on shapes alone."""
    leaves: dict[str, Tensor] = {}

    def leaf(name: str, tensor: Tensor | None) -> Tensor | None:
        if tensor is not None and tensor.is_floating_point():
            tensor = leaves[name] = tensor.detach().requires_grad_()
        return tensor

    if isinstance(call.x, Tensor):
        x: Any = leaf("x", call.x)
    else:
        x = (leaf("x of sources", call.x[0]), leaf("x of targets", call.x[1]))
    edge_attr = leaf("edge_attr", call.edge_attr)
    arguments = (x, call.edge_index) if edge_attr is None else (x, call.edge_index, edge_attr)
    layer.zero_grad()
    torch.manual_seed(seed)
    returned = layer(*arguments, **call.options)
    generator_state = torch.get_rng_state()
    total = torch.zeros(())
    for tensor in tensors_in(returned):
        if tensor.requires_grad and tensor.layout == torch.strided:
            generator = torch.Generator().manual_seed(tensor.numel())
            cotangent = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            total = total + (tensor * cotangent.to(tensor.dtype)).sum()
    if total.requires_grad:
        total.backward()
    gradients = {name: tensor.grad for name, tensor in leaves.items()}
    gradients |= {name: copy.copy(p.grad) for name, p in layer.named_parameters()}
    return Result(returned, gradients, generator_state)


def tensors_in(returned: Any) -> list[Tensor]:
    if isinstance(returned, Tensor):
        return [returned]
    if isinstance(returned, tuple):
        return [tensor for part in returned for tensor in tensors_in(part)]
    raise TypeError(f"a layer returns tensors and tuples, got {type(returned)}")


def largest(tensors: Iterable[Tensor | None]) -> float:
    """The size of the largest number in all of them, 1 at least.

    Gradients are sums whose terms may cancel, as those of a key's bias do to zero. Their rounding
    errors, ours and PyTorch Geometric's, are relative to the terms; this is how large these are.
    """
    finite = (t.detach().nan_to_num(0, 0, 0).abs() for t in tensors if t is not None and t.numel())
    sizes = [size.max().item() for size in finite]
    return max([1.0, *sizes])


def assert_close(
    actual: Tensor,
    expected: Tensor,
    what: str,
    tolerance: float | None = None,
    scale: float = 1.0,
) -> None:
    """Equal type, dtype, layout and shape; equal integers; floats close in units of their scale."""
    assert type(actual) is type(expected), what
    assert actual.dtype == expected.dtype, what
    assert actual.layout == expected.layout, what
    assert actual.shape == expected.shape, what
    if actual.layout == torch.sparse_coo:
        assert_close(actual.indices(), expected.indices(), f"{what}: indices")
        return assert_close(actual.values(), expected.values(), f"{what}: values", tolerance)
    if actual.layout == torch.sparse_csr:
        assert_close(actual.crow_indices(), expected.crow_indices(), f"{what}: rows")
        assert_close(actual.col_indices(), expected.col_indices(), f"{what}: columns")
        return assert_close(actual.values(), expected.values(), f"{what}: values", tolerance)
    if not expected.is_floating_point():
        assert actual.tolist() == expected.tolist(), what
        return None
    if expected.numel():
        tolerance = TOLERANCES[expected.dtype] if tolerance is None else tolerance
        scale = max(scale, largest([expected]))
        torch.testing.assert_close(
            actual, expected, rtol=0, atol=tolerance * scale, msg=lambda text: f"{what}: {text}"
        )
    return None


def assert_same_structure(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_structure(one, other)


def assert_same(ours: Result, theirs: Result, tolerance: float | None = None) -> None:
    """All values, all gradients, and the state in which the random generator is left."""
    assert_same_structure(ours.returned, theirs.returned)
    pairs = zip(tensors_in(ours.returned), tensors_in(theirs.returned), strict=True)
    for position, (actual, expected) in enumerate(pairs):
        assert_close(actual, expected, f"returned[{position}]", tolerance)
        assert actual.requires_grad == expected.requires_grad, f"returned[{position}]"
    assert ours.gradients.keys() == theirs.gradients.keys()
    scale = largest(theirs.gradients.values())
    for name, expected_gradient in theirs.gradients.items():
        gradient = ours.gradients[name]
        if expected_gradient is None or gradient is None:
            # None and zeros are told apart elsewhere: here both say that nothing flows.
            some = expected_gradient if gradient is None else gradient
            assert some is None or not some.any(), f"gradient of {name}"
        else:
            what = f"gradient of {name}"
            assert_close(gradient, expected_gradient, what, tolerance, scale)
    assert torch.equal(ours.generator_state, theirs.generator_state), "other random numbers drawn"


def assert_drop_in(pair: tuple[nn.Module, nn.Module], call: Call, *, seed: int = 0) -> None:
    """Both layers give the same, with attention weights and without."""
    ours, theirs = pair
    for extra in ({}, {"return_attention_weights": True}):
        asked = replace(call, options=dict(call.options) | extra)
        assert_same(run(ours, asked, seed=seed), run(theirs, asked, seed=seed))
