"""Whether compiled kernels can take tensors; where not, the definition in PyTorch does."""

from torch import Tensor, nn

from graphattn.kernels.cpp.compiler import is_available

# Other kinds of tensors may have no memory of their own, as those that stand for values to come.
_PLAIN = (Tensor, nn.Parameter)


def can_compile(*tensors: Tensor) -> bool:
    """Whether compiled kernels can take these: plain tensors on the CPU, if there is a compiler.

    Warns once in a process whose computer has none.
    """
    is_plain = all(t.device.type == "cpu" and type(t) in _PLAIN for t in tensors)
    return is_plain and is_available()
