"""The parts of the gate for kernels on GPUs, but for what compiles."""

import dataclasses
from typing import Any

import pytest
import torch
from inspected_kernels import WRITTEN

from graphattn.kernels.edge_attention.plan import Plan
from graphattn.kernels.edge_attention.rows import End
from graphattn.kernels.triton.inspect.architectures import LIMITS, occupancy
from graphattn.kernels.triton.inspect.compilation import Binary, compiled
from graphattn.kernels.triton.inspect.layouts import layout_of
from graphattn.kernels.triton.inspect.machine_code import Resources, resources
from graphattn.kernels.triton.inspect.minimum import Minimum, backward_minimum, forward_minimum
from graphattn.kernels.triton.inspect.programs import LAYERS
from graphattn.nn.convolutions import gat_conv, gatv2_conv, transformer_conv


def test_layouts_say_which_elements_threads_hold() -> None:
    blocked = (
        "#ttg.blocked<{sizePerThread = [1, 4], threadsPerWarp = [4, 8], warpsPerCTA = [2, 1],"
        " order = [1, 0]}>"
    )
    both, rows = frozenset({0, 1}), frozenset({0})
    layout = layout_of(f"tensor<16x32x!tt.ptr<f32>, {blocked}>")
    assert layout is not None
    assert layout.per_thread == 8  # 4 side by side, twice
    assert layout.num_elements(both, of_warp=False) == 16 * 32
    assert layout.num_elements(both, of_warp=True) == 8 * 32
    assert layout.num_elements(rows, of_warp=False) == 16
    # Half of the threads, and one of the warps, hold again what others do.
    small = layout_of(f"tensor<4x16xf32, {blocked}>")
    assert small is not None
    assert small.num_elements(both, of_warp=True) == small.num_elements(both, of_warp=False) == 64
    sliced = layout_of(f"tensor<16xi32, #ttg.slice<{{dim = 1, parent = {blocked}}}>>")
    assert sliced is not None
    assert (sliced.per_thread, sliced.num_elements(rows, of_warp=True)) == (2, 8)
    linear = layout_of(
        "tensor<4xf32, #ttg.linear<{register = [[1]], lane = [[2], [0]], warp = [[0]],"
        " block = []}>>"
    )
    assert linear is not None
    assert linear.num_elements(rows, of_warp=True) == 4
    assert layout_of("tensor<16x16xf32, #ttg.nvidia_mma<{versionMajor = 2}>>") is None


@pytest.mark.parametrize(
    ("architecture", "registers", "shared", "num_warps", "warps", "limit"),
    [
        ("sm_90", 40, 0, 4, 48, "registers"),
        ("sm_90", 32, 0, 4, 64, "warps"),
        ("sm_90", 255, 0, 8, 8, "registers"),
        ("sm_90", 16, 0, 1, 32, "blocks"),
        ("sm_90", 32, 56 << 10, 4, 16, "shared memory"),  # 57 KiB with what is reserved
        ("sm_80", 32, 56 << 10, 4, 8, "shared memory"),
        ("gfx942", 128, 0, 4, 16, "registers"),
    ],
)
def test_occupancy_is_that_of_the_vendors_tables(
    architecture: str, registers: int, shared: int, num_warps: int, warps: int, limit: str
) -> None:
    found = occupancy(LIMITS[architecture], registers, shared, num_warps)
    assert (found.warps, found.limit) == (warps, limit)
    assert found.share == warps / LIMITS[architecture].warps


def test_a_block_that_does_not_fit_raises() -> None:
    with pytest.raises(ValueError, match="a block must fit"):
        occupancy(LIMITS["sm_80"], 32, 164 << 10, 4)


INPUTS = {
    "GAT": (gat_conv.attend, {"target_logit": (2, 3), "source_logit": (2, 3), "source": (2, 3, 5)}),
    "GATv2": (gatv2_conv.attend, {"target": (2, 3, 5), "source": (2, 3, 5), "attention": (3, 5)}),
    "TransformerConv": (
        transformer_conv.attend,
        {"query": (2, 3, 5), "key": (2, 3, 5), "value": (2, 3, 5)},
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_programs_are_those_of_the_layers(name: str) -> None:
    attend, shapes = INPUTS[name]
    inputs: dict[str, Any] = {key: torch.rand(shape) for key, shape in shapes.items()}
    if "negative_slope" in attend.roles:
        inputs["negative_slope"] = 0.2
    assert str(LAYERS[name].program(3, 5, torch.float32)) == str(attend.program(**inputs))


# Of 8 heads of 16 channels, 512 bytes a row; neighbor, order and twin have 4 bytes each.
@pytest.mark.parametrize(
    ("name", "forward", "by_target", "by_source"),
    [
        ("GAT", 32 + 512 + 4, 32 + 512 + 4 + 64, 32 + 512 + 64 + 8),
        ("GATv2", 512 + 4, 512 + 4 + 64, 2 * 512 + 64 + 8),
        ("TransformerConv", 2 * 512 + 4, 2 * 512 + 4 + 64, 2 * 512 + 64 + 8),
        ("GraphTransformer", 4 * 512 + 8, 5 * 512 + 8 + 64, 4 * 512 + 64 + 12),
    ],
)
def test_the_fewest_bytes_are_those_counted_by_hand(
    name: str, forward: int, by_target: int, by_source: int
) -> None:
    program = LAYERS[name].program(8, 16, torch.float32)
    assert forward_minimum(program).per_edge == forward
    assert [backward(name, 8, 16, end).per_edge for end in ("target", "source")] == [
        by_target,
        by_source,
    ]


def backward(name: str, heads: int, channels: int, end: End) -> Minimum:
    program = LAYERS[name].program(heads, channels, torch.float32)
    plan = Plan(program)
    slope = plan.derivative(end, tuple(program.inputs))
    return backward_minimum(end, program, slope, is_left=True)


def test_rows_of_a_gather_are_whole_sectors() -> None:
    least = forward_minimum(LAYERS["GAT"].program(2, 5, torch.float32))
    assert least.gathered == {"source_logit": 8, "source": 40}
    assert least.padding == 24 + 24
    assert least.per_row == {"target_logit": 8, "ptr": 8, "output": 40, "norm": 16}


def test_spills_of_amd_are_read_from_assembly() -> None:
    assembly = """
	scratch_store_dwordx4 off, v[2:5], off offset:16
	scratch_load_dword v7, off, off offset:16
  - .agpr_count:     256
    .private_segment_fixed_size: 164
    .sgpr_spill_count: 0
    .vgpr_count:     512
    .vgpr_spill_count: 42
"""
    binary = Binary(WRITTEN["once"].kernel(), "gfx942", 0, "", assembly, b"")
    assert resources(binary, "") == Resources(512, 164, 0, local_loads=4, local_stores=16)


def test_what_does_not_compile_raises() -> None:
    kernel = WRITTEN["once"].kernel()
    with pytest.raises(ValueError, match="architecture must be one of sm_80"):
        compiled(kernel, "sm_70")
    with pytest.raises(ValueError, match="constants must be values for"):
        compiled(dataclasses.replace(kernel, constants={}), "sm_90")
    with pytest.raises(RuntimeError, match="unset TRITON_INTERPRET"):
        compiled(kernel, "sm_90")
