"""How large the tensors are that a computation makes."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class LargestTensor(TorchDispatchMode):
    """While it is active, the number of elements of the largest tensor that is made.

    Views, such as ``expand`` gives, count by what they show, and so are found as well. So are the
    stand-ins without data that programs are recorded with: record them before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in torch.utils._pytree.tree_leaves(result):
            if isinstance(x, Tensor):
                self.numel = max(self.numel, x.numel())
        return result
