"""What the kernels of sums over lattices take on a GPU that is not there."""

import json
import os
import subprocess
import sys

# Compiles the kernels, in a process where Triton does, and says what a thread of each takes.
COMPILE = """
import json, re, torch, triton
from triton.compiler import ASTSource
from graphattn.kernels.lattice_sum import triton as images
from graphattn.kernels.lattice_sum.pairs import Crystals
from graphattn.kernels.lattice_sum.tiles import Radial, Tile
from graphattn.kernels.reciprocal_sum import triton as waves
from graphattn.kernels.triton.inspect.compilation import TARGETS, Binary
from graphattn.kernels.triton.inspect.machine_code import disassembled, resources

KINDS = {torch.float32: "*fp32", torch.float64: "*fp64"}

def compiled(kernel, num_warps, constants, **given):
    signature = given | dict.fromkeys(constants, "constexpr")
    places = [(i, j) if isinstance(kind, tuple) else (i,)
              for i, kind in enumerate(given.values())
              for j in range(len(kind) if isinstance(kind, tuple) else 1)
              if isinstance(kind, tuple) or kind.startswith("*")]
    attrs = {place: [["tt.divisibility", 16]] for place in places}
    source = ASTSource(kernel, signature=signature, constexprs=constants, attrs=attrs)
    made = triton.compile(source, target=TARGETS["sm_90"], options={"num_warps": num_warps})
    shared, code = made.metadata.shared, made.asm
    binary = Binary(None, "sm_90", shared, code["ttgir"], code["ptx"], code["cubin"])
    used = resources(binary, disassembled(binary))
    atomics = re.findall(r"\\b(?:atom|red)\\.", code["ptx"])
    return vars(used) | {"shared": shared, "atomics": len(atomics)}

found = {}
for dtype, num_basis in ((torch.float32, 64), (torch.float64, 200)):
    value, tile = KINDS[dtype], Tile.of(dtype, 8, num_basis)
    given = Crystals("*i32", value, value, "*i64", value)
    form = {"EXCLUDE_SELF": False, "TILE": tile}
    start = {"given": given, "radial": Radial(value, value), "first": "i32", "count": "i32"}
    rows = dict.fromkeys(("of_alpha", "centred", "pull", "of_precision"), value)
    pulls = start | rows | {"pulls": "*fp64"}
    found[f"pull {dtype}"] = compiled(images._pull_images, tile.num_warps, form, **pulls)
    sizes = waves._options(torch.empty(1, 8, dtype=dtype))
    warps = sizes.pop("num_warps")
    pulls = {"given": given, "grad": value, "of_squares": value, "pulls": "*fp64"}
    found[f"pull waves {dtype}"] = compiled(waves._pull_waves, warps, sizes, **pulls)
sums = start | {"alpha": value, "mean": value}
found[f"sum {dtype}"] = compiled(images._sum_images, tile.num_warps, form, **sums)
print(json.dumps(found))
"""


def test_compiled_kernels_spill_nothing_and_have_no_atomics() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    given = [sys.executable, "-c", COMPILE]
    done = subprocess.run(given, env=environment, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 5
    for name, used in found.items():
        assert used["registers"] <= 255, name
        assert used["shared"] <= 2**15, name
        assert used["atomics"] == 0, name
        if "waves" not in name:
            assert used["stack"] == used["local_loads"] == used["local_stores"] == 0, name
        # The device's sine and cosine have a table there for angles of many turns.
        assert used["stack"] <= 40, name
