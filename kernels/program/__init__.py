"""Edge programs: plain PyTorch functions over edges, recorded and checked."""

from graphattn.kernels.program.capture import InputSpec, UserFunction
from graphattn.kernels.program.derivative import derivative, narrowed
from graphattn.kernels.program.errors import CaptureError
from graphattn.kernels.program.lower import RETURNS, capture
from graphattn.kernels.program.program import Program, Reduction, Step, needed

__all__ = [
    "RETURNS",
    "CaptureError",
    "InputSpec",
    "Program",
    "Reduction",
    "Step",
    "UserFunction",
    "capture",
    "derivative",
    "narrowed",
    "needed",
]
