"""Whether compiled kernels can take tensors; where not, the definition in PyTorch does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from graphattn.kernels.cpp.compiler import is_available

# Other kinds of tensors may have no memory of their own, as those that stand for values to come.
_PLAIN = (Tensor, nn.Parameter)


def can_compile(*tensors: Tensor) -> bool:
    """Whether compiled kernels can take these: plain tensors on the CPU, if there is a compiler.

    Warns once in a process whose computer has none.
    """
    is_plain = all(
        t.device.type == "cpu" and type(t) in _PLAIN and not is_wrapped(t) for t in tensors
    )
    return is_plain and is_available()


def is_inside_transform() -> bool:
    """Whether this runs inside ``torch.func``, such as vmap or grad."""
    return torch._C._functorch.peek_interpreter_stack() is not None


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
def is_transformed() -> bool:
    """Whether this runs inside ``torch.func``, such as vmap, or forward-mode differentiation."""
    return is_inside_transform() or forward_ad._current_level >= 0


@torch._dynamo.assume_constant_result  # type: ignore[untyped-decorator]
def num_forward_levels() -> int:
    """How many forward-mode derivatives of ``torch.func``, such as jvp, this runs inside of."""
    levels = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() == torch._C._functorch.TransformType.Jvp for level in levels)


def is_wrapped(x: Tensor) -> bool:
    """Whether a tensor stands for others and has no memory of its own.

    Such are the tensors inside ``torch.func``, and the gradients of several backward passes that
    ``torch.autograd`` takes at once, as with ``is_grads_batched``.
    """
    wrapped = torch._C._functorch
    return wrapped.is_functorch_wrapped_tensor(x) or wrapped.is_legacy_batchedtensor(x)


def must_be_plain(*gradients: Tensor | None) -> bool:
    """Whether a backward pass must be plain PyTorch: it is itself differentiated, or transformed.

    Args:
        gradients: What arrives, if the pass cannot take several gradients at once.
    """
    is_seen = torch.is_grad_enabled() or is_transformed()
    return is_seen or any(x is not None and is_wrapped(x) for x in gradients)


def refuse_forward_mode() -> None:
    """Refuses to run an operator inside forward-mode differentiation, which would find zero there.

    None of ours does: this is for graphs that were made outside of it, by ``torch.export``.

    Raises:
        NotImplementedError: See above.
    """
    if forward_ad._current_level >= 0:
        raise NotImplementedError(
            "an operator of graphattn in a graph has no forward derivative: call the module that"
            " the graph was made from, which then is plain PyTorch"
        )


def or_by_definition(
    operator: Callable[..., Any], definition: Callable[..., Any]
) -> Callable[..., Any]:
    """An operator in whose place its definition runs inside transforms.

    These see through plain PyTorch alone. Of operators, some know no derivative; forward-mode
    differentiation takes that for one of zero, and says nothing.

    Args:
        operator: Differentiable backwards.
        definition: Takes and gives the same, in plain PyTorch.
    """

    def run(*arguments: Any) -> Any:
        return definition(*arguments) if is_transformed() else operator(*arguments)

    return run
