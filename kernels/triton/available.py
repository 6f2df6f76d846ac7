"""What a launch needs besides its kernel: Triton itself, and the right device."""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def require_triton() -> None:
    """Refuses to go on without Triton; called before anything that imports it.

    Raises:
        ModuleNotFoundError: If Triton is not installed.
    """
    if importlib.util.find_spec("triton") is None:
        raise ModuleNotFoundError(
            "kernels for the GPU need Triton, which is not installed: pip install"
            ' "graphattn[triton]", or take backend="reference"',
            name="triton",
        )


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a device the current one, to which Triton launches whatever the tensors are on.

    Args:
        device: Of the tensors; the CPU in Triton's interpreter.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def is_interpreted() -> bool:
    """Whether Triton runs kernels in its interpreter, on tensors of the CPU.

    ``TRITON_INTERPRET`` in the environment decides that, when Triton is imported.
    """
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return bool(triton.knobs.runtime.interpret)
