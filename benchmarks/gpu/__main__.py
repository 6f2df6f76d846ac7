"""Checks all kernels on a GPU against float64, times them against the peers, and writes a page.

    python -m benchmarks.gpu                                  # everything
    python -m benchmarks.gpu --cases checks,bandwidth,reference --peers ours,pyg --rounds 5
    TRITON_INTERPRET=1 python -m benchmarks.gpu               # a try without a GPU, at tiny sizes
    python -m benchmarks.gpu --render                         # the page anew, from the records

PyTorch Geometric, alone and under torch.compile, and DGL where it is installed take turns with our
layers, A B C A B C, in this one process; whoever fails is named and left out. Records are left in
benchmarks/records/gpu/, the page in docs/gpu/. The status is 1 if a check or a layer of ours
fails, and 2 if something that is needed is not there.
"""

import importlib.util
import sys
from collections.abc import Sequence

_NEEDED = ("triton", "matplotlib", "lightning", "torchmetrics")


def main(arguments: Sequence[str] | None = None) -> int:
    """Says what is not there, or runs.

    Args:
        arguments: As on the command line, which is taken without.

    Returns:
        The status to exit with.
    """
    absent = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        wanted = 'pip install "graphattn[triton,plot,train]"'
        print(f"{', '.join(absent)} must be installed: {wanted}", file=sys.stderr)
        return 2
    from benchmarks.gpu.run import run  # needs what was looked for

    return run(arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main())
