"""Dual attention against stored results of the authors' code, and as a layer on sets."""

from pathlib import Path

import pytest
import torch
from golden_arrays import TOLERANCES, Golden
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks, Edges
from graphattn.nn.sets.dual_attention import DualAttention, RelationalAttention, Relations
from graphattn.nn.sets.symbolic_attention import SymbolicAttention

SIZES = [4, 0, 1, 70]
NAMES = {
    "wr": "relation",
    "wq_attn": "query",
    "wk_attn": "key",
    "wq_rel": "relations.query",
    "wk_rel": "relations.key",
    "wq": "query",
    "wk": "key",
    "wo": "output",
    "template_features": "features",
    "symbol_library": "library",
    "q_proj": "query",
}


def renamed(name: str) -> str:
    is_self_attention = name.startswith("self_attention.")
    names = [
        NAMES.get(part, part)
        for part in name.replace("relational_attention", "relational").split(".")
        if part != "self_attention"
    ]
    # The values of one are features, those of the other symbols.
    value = "value" if is_self_attention else "symbol"
    return ".".join(value if part == "wv" else part for part in names)


def allowed_pairs(mask: Tensor, num_sets: int) -> Edges:
    """The pairs that may attend, of sets which all have one mask, sorted by query."""
    size = len(mask)
    target, source = mask.bool().nonzero().t()
    shift = size * torch.arange(num_sets).unsqueeze(1)
    index = torch.stack([(source + shift).flatten(), (target + shift).flatten()])
    return Edges.from_edge_index(index, num_sets * size, num_sets * size)


def sets(sizes: list[int]) -> tuple[Tensor, Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), 16), torch.randn(int(ptr[-1]), 16), Blocks.from_ptr(ptr)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("case", "layer"),
    [
        ("relattn_0_H4_R4", lambda: RelationalAttention(16, 4, Relations(16, 4, 4))),
        (
            "relattn_1_H8_R4_sym",
            lambda: RelationalAttention(
                32, 8, Relations(32, 4, 8, symmetric=True), key_value_heads=2, bias=True
            ),
        ),
        (
            "relattn_2_H2_R4_relpos",
            lambda: RelationalAttention(16, 2, Relations(16, 4, 4, activation=nn.Tanh())),
        ),
    ],
    ids=["relations", "symmetric", "symbols of pairs"],
)
def test_relational_attention_is_that_of_the_authors_code(
    case: str, layer: type[nn.Module], dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "dual_attention" / f"{case}.npz", dtype, renamed)
    ours = golden.load(layer())
    x, symbols, mask = (golden.inputs[name] for name in ("x", "symbols", "attn_mask"))
    num_sets, size = x.shape[:2]
    edges = allowed_pairs(mask, num_sets)
    of_pairs = symbols.shape[0] == symbols.shape[1] == size
    if of_pairs:
        symbols = symbols[mask.bool()].repeat(num_sets, 1)
    out, weights = ours(
        x.flatten(0, 1),
        symbols if of_pairs else symbols.flatten(0, 1),
        edges,
        symbols_of_pairs=of_pairs,
        return_weights=True,
    )
    found = x.new_zeros(num_sets, size, size, weights.shape[1])
    found[mask.bool().expand(num_sets, -1, -1)] = weights
    left, right = (part.unflatten(0, (num_sets, -1)) for part in ours.relations(x.flatten(0, 1)))
    relations = torch.einsum("bilp,bjlp->bijl", left, right) / left.shape[-1] ** 0.5
    golden.check(
        ours,
        out=out.view_as(x),
        attn=found.permute(0, 3, 1, 2),
        relations=ours.relations.activation(relations),
    )


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_dual_attention_is_that_of_the_authors_code(
    dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "dual_attention" / "dual_0_2sa_2ra.npz", dtype, renamed)
    ours = golden.load(DualAttention(16, 2, 2, 4))
    x, symbols = golden.inputs["x"], golden.inputs["symbols"]
    edges = allowed_pairs(golden.inputs["attn_mask"], len(x))
    golden.check(ours, out=ours(x.flatten(0, 1), symbols.flatten(0, 1), edges).view_as(x))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_symbols_are_those_of_the_authors_code(dtype: torch.dtype, golden_folder: Path) -> None:
    golden = Golden(golden_folder / "dual_attention" / "symbolic_0.npz", dtype, renamed)
    ours = golden.load(SymbolicAttention(16, 4, 6))
    x = golden.inputs["x"]
    golden.check(ours, out=ours(x.flatten(0, 1)).view_as(x))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: RelationalAttention(16, 4, Relations(16, 4, 4)),
        lambda: DualAttention(16, 2, 2, 4, activation=nn.ReLU()),
    ],
    ids=["relational", "dual"],
)
def test_a_set_gives_the_same_alone_in_a_batch_and_in_any_order(layer: type[nn.Module]) -> None:
    ours = layer()
    x, symbols, blocks = sets(SIZES)
    together = ours(x, symbols, blocks)
    assert_close(ours(x, symbols, blocks.edges()), together)
    assert_close(ours(*sets([])), torch.zeros(0, 16))
    parts = (tensor.split(SIZES) for tensor in (x, symbols, together))
    for own, names, expected in zip(*parts, strict=True):
        order = torch.randperm(len(own))
        alone = ours(own[order], names[order], Blocks.from_ptr(torch.tensor([0, len(own)])))
        assert_close(alone, expected[order], atol=1e-6, rtol=1e-5)


def test_symmetric_relations_are_one_map() -> None:
    left, right = Relations(8, 2, 4, symmetric=True)(torch.randn(5, 8))
    assert torch.equal(left, right)


def test_bad_input_is_named() -> None:
    x, symbols, blocks = sets(SIZES)
    layer = RelationalAttention(16, 2, Relations(16, 4, 4))
    with pytest.raises(ValueError, match=r"symbols must be \(75, 16\), got \(74, 16\)"):
        layer(x, symbols[1:], blocks)
    with pytest.raises(ValueError, match=r"symbols must be \(4917, 16\), got \(75, 16\)"):
        layer(x, symbols, blocks, symbols_of_pairs=True)
    with pytest.raises(TypeError, match=r"edges must be a graphattn\.Blocks or graphattn\.Edges"):
        layer(x, symbols, x)
    with pytest.raises(ValueError, match="edges must be among one set of elements, got 4 targets"):
        layer(x, symbols, blocks.seeds(1))
    with pytest.raises(ValueError, match="key_value_heads must divide heads = 2, got 3"):
        RelationalAttention(8, 2, Relations(8, 4, 4), key_value_heads=3)
    with pytest.raises(ValueError, match="num_relations must divide 4, got 3"):
        DualAttention(8, 1, 1, 3)
    with pytest.raises(ValueError, match=r"x must be \(5, 8\), got \(5, 7\)"):
        SymbolicAttention(8, 2, 3)(torch.randn(5, 7))
