"""The C++ of compiled programs: names of the user's own, and a text that is meant to be read."""

import torch
from contract_programs import CASES
from contract_runs import structures
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.kernels.cpp import forward as cpp_forward


def test_names_that_mean_something_in_cpp_are_fine() -> None:
    def score(add_0: Tensor, double: Tensor, größe: Tensor) -> Tensor:
        return (add_0 * double).sum(-1) + add_0.sum(-1) * größe

    edges = structures(square=True)["assorted"]
    roles = {"target": ["add_0"], "source": ["double", "out"], "shared": ["größe"]}
    inputs = {name: torch.randn(edges.num_sources, 3, 5) for name in ("add_0", "double", "out")}
    outputs = [
        EdgeAttention(score, lambda out: out, backend=backend, **roles)(
            edges, **inputs, größe=torch.tensor(0.3)
        )
        for backend in ("reference", "cpp")
    ]
    torch.testing.assert_close(outputs[1], outputs[0])


def test_the_generated_source_reads_like_the_program() -> None:
    case, edges = CASES["masked"], structures(square=True)["assorted"]
    program = case.layer(3, 5).program(**case.inputs(edges, 3, 5, torch.float32))
    text = cpp_forward.forward_pass(program).source()
    assert "// %mul_0 = mul(query, key)" in text
    assert ".py" not in text  # else a moved line would compile anew
    assert "#pragma omp parallel for" in text
