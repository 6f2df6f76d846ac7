"""What GCC makes of generated C++: the exponentials of an edge's heads are taken all at once."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from graphattn.kernels.cpp import compiler
from graphattn.kernels.cpp.backward import backward_pass
from graphattn.kernels.cpp.forward import forward_pass
from graphattn.kernels.cpp.walk import translation_unit
from graphattn.kernels.program import derivative
from graphattn.nn.convolutions import gat_conv


def loops(text: str) -> Iterator[tuple[range, str]]:
    """The lines of every loop that asks to be vectorised, counted from one, and what they say."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        if "#pragma omp simd" in line:
            is_block, closing = lines[start + 1].endswith("{"), line.partition("#")[0] + "}"
            stop = start + 2
            while not (lines[stop - 1] == closing if is_block else lines[stop - 1].endswith(";")):
                stop += 1
            yield range(start + 1, stop + 1), "\n".join(lines[start:stop])


def test_the_exponentials_of_all_heads_are_taken_at_once(tmp_path: Path) -> None:
    found = compiler.find_compiler()
    if "Free Software Foundation" not in found.version:
        pytest.skip("only GCC says which loops it has vectorised in a form known here")
    heads, channels, wanted = 8, 16, ("target_logit", "source_logit", "source")
    inputs = {name: torch.randn(1, heads) for name in wanted[:2]}
    program = gat_conv.attend.program(
        **inputs, source=torch.randn(1, heads, channels), negative_slope=0.2
    )
    text = translation_unit(
        [forward_pass(program), backward_pass("target", derivative(program, wanted))]
    )
    source = tmp_path / "passes.cpp"
    source.write_text(text)
    flags = compiler.supported_flags(found, True)
    said = subprocess.run(
        [*found.command, *flags, "-fopt-info-vec-optimized", str(source), "-o", f"{source}.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    vectorised = {int(line) for line in re.findall(r":(\d+):\d+: optimized: loop", said)}
    slow = [loop for lines, loop in loops(text) if not vectorised.intersection(lines)]
    with_exponential = [loop for _, loop in loops(text) if "exponential(" in loop]
    assert len(with_exponential) == 3  # two of the forward pass, one of the backward pass
    assert not [loop for loop in slow if "exponential(" in loop or "grows" in loop]
