"""Programs as text: all of them is kept, and another process can do with the text alone."""

import hashlib
import subprocess
import sys

import pytest
import torch
from attention_cases import bipartite
from contract_programs import CASES
from edge_programs import FUNCTIONS, captured

from graphattn.kernels.cpp.forward import forward_pass
from graphattn.kernels.program import Program
from graphattn.kernels.program.serialize import from_text, to_text


def assert_same(found: Program, expected: Program) -> None:
    assert found == expected
    assert str(found) == str(expected)  # what kernels are remembered by
    assert list(found.inputs) == list(expected.inputs)  # whose order is that of a kernel's


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_function_comes_back_from_its_text(name: str, dtype: torch.dtype) -> None:
    program = captured(FUNCTIONS[name], dtype)
    text = to_text(program)
    assert_same(from_text(text), program)
    assert to_text(from_text(text)) == text


@pytest.mark.parametrize("name", CASES)
def test_a_whole_program_comes_back_from_its_text(name: str) -> None:
    inputs = CASES[name].inputs(bipartite(), 3, 5, torch.float32)
    program = CASES[name].layer(3, 5).program(**inputs)
    assert_same(from_text(to_text(program)), program)


def test_reduction_and_epsilon_come_back() -> None:
    program = captured(FUNCTIONS["dot_product"])
    other = Program(program.inputs, program.steps, program.outputs, "sum", 1e-12)
    assert_same(from_text(to_text(other)), other)
    assert to_text(other) != to_text(program)


def test_the_text_names_no_file_of_the_user() -> None:
    program = captured(FUNCTIONS["gatv2"])
    assert any(".py" in step.place for step in program.steps)
    assert ".py" not in to_text(program)


def test_a_fresh_process_prints_the_same_kernel_from_the_text() -> None:
    inputs = CASES["many moves"].inputs(bipartite(), 3, 5, torch.float32)
    text = to_text(CASES["many moves"].layer(3, 5).program(**inputs))
    code = (
        "import hashlib, sys; from graphattn.kernels.cpp.forward import forward_pass;"
        "from graphattn.kernels.program.serialize import from_text;"
        "source = forward_pass(from_text(sys.stdin.read())).source();"
        "print(hashlib.sha256(source.encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    source = forward_pass(from_text(text)).source()
    assert done.stdout.strip() == hashlib.sha256(source.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"inputs": [["a", "target", [2], "sin"]]}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="text must be an edge program"):
        from_text(text)
