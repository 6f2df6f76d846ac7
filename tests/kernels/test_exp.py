"""The exponential and tanh of generated C++ against float64, over every exponent of float32."""

import ctypes
import math

import pytest
import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load
from graphattn.kernels.cpp.exponential import EXPONENTIAL

SOURCE = (
    EXPONENTIAL
    + """
extern "C" void exp_all_f32(const float* input, float* output, long count) {
#pragma omp simd
  for (long i = 0; i < count; ++i) output[i] = exp_f32(input[i]);
}
extern "C" void tanh_all_f32(const float* input, float* output, long count) {
#pragma omp simd
  for (long i = 0; i < count; ++i) output[i] = tanh_f32(input[i]);
}
extern "C" void exp_all_f64(const double* input, double* output, long count) {
  for (long i = 0; i < count; ++i) output[i] = exp_f64(input[i]);
}
"""
)
RELATIVE_ERROR = 2e-7
HALF_OF_LEAST_FLOAT = 2.0**-150


def exponential(x: Tensor) -> Tensor:
    return applied("exp_all_f32" if x.dtype == torch.float32 else "exp_all_f64", x)


def applied(name: str, x: Tensor) -> Tensor:
    output = torch.full_like(x, math.nan)
    function = load(SOURCE)[name]
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
    function(x.data_ptr(), output.data_ptr(), x.numel())
    return output


def assert_accurate(x: Tensor) -> None:
    output, expected = exponential(x), x.double().exp()
    overflows = expected > torch.finfo(torch.float32).max
    assert torch.equal(output.isinf(), overflows)
    assert bool((output >= 0).all())
    allowed = RELATIVE_ERROR * expected + HALF_OF_LEAST_FLOAT
    error = (output.double() - expected).abs()
    worst = torch.where(overflows, 0.0, error / allowed).max().item()
    assert worst <= 1, f"error is {worst} of what is allowed"


@pytest.mark.parametrize("sign", [0, 1], ids=["positive", "negative"])
def test_every_exponent_of_float32_is_accurate(sign: int) -> None:
    generator = torch.Generator().manual_seed(0)
    exponents = torch.arange(255).view(-1, 1)  # 255 is infinity and NaN
    mantissas = torch.randint(0, 1 << 23, (255, 4096), generator=generator)
    mantissas[:, :2] = torch.tensor([0, (1 << 23) - 1])
    bits = (exponents << 23) + mantissas - sign * (1 << 31)
    assert_accurate(bits.to(torch.int32).view(torch.float32).flatten())


def test_everything_between_underflow_and_overflow_is_accurate() -> None:
    assert_accurate(torch.linspace(-104, 89, 4_000_001))


def test_both_ends_infinities_zeros_and_nan_are_exact() -> None:
    least, greatest = -103.27893, 88.72283  # the last results that are not 0 and not infinity
    x = torch.tensor([-math.inf, -3e38, -104.0, least, -0.0, 0.0, greatest, 89.0, 3e38, math.inf])
    output = exponential(x)
    assert output[:3].tolist() == [0, 0, 0]
    assert output[3].item() == 2.0**-149
    assert output[4:6].tolist() == [1, 1]
    assert math.isfinite(output[6].item())
    assert output[7:].tolist() == [math.inf] * 3
    assert math.isnan(exponential(torch.tensor([1.0, math.nan]))[1].item())


def test_the_remainder_of_a_vector_loop_gives_the_same_bits() -> None:
    x = torch.linspace(-90, 80, 257)
    alone = torch.cat([exponential(part.clone()) for part in x.split(1)])
    assert torch.equal(exponential(x), alone)


def test_float64_is_the_exponential_of_the_standard_library() -> None:
    x = torch.linspace(-740, 700, 1001, dtype=torch.float64)
    expected = torch.tensor([math.exp(value) for value in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(exponential(x), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("end", [1e-3, 0.625, 1.0, 20.0])
def test_tanh_is_accurate(end: float) -> None:
    x = torch.linspace(-end, end, 1_000_001)
    error = (applied("tanh_all_f32", x).double() / x.double().tanh() - 1).abs()
    assert error[x != 0].max().item() < 1.5e-7


def test_tanh_of_zeros_denormals_infinities_and_nan() -> None:
    x = torch.tensor([-0.0, 0.0, 2.0**-149, math.inf, -math.inf, 3e38, math.nan])
    output = applied("tanh_all_f32", x)
    assert output[:6].tolist() == [0.0, 0.0, 2.0**-149, 1.0, -1.0, 1.0]
    assert math.copysign(1, output[0].item()) == -1
    assert output[6].isnan()
