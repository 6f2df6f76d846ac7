"""Bags of instances: gated attention, ACMIL's branches, masking and losses."""

from pathlib import Path

import pytest
import torch
from golden_arrays import TOLERANCES, Golden
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.sets.acmil import ACMIL, branch_similarity, keep_at_random
from graphattn.nn.sets.gated_attention_pooling import GatedAttentionPooling
from graphattn.nn.sets.multihead_acmil import MultiheadACMIL

SIZES = [4, 0, 1, 9]
C = 24  # widths are those of the stored cases where they can be, which saves kernels
NAMES = {
    "dimreduction.fc1": "reduction",
    "attention.attention_V.0": "pooling.hidden",
    "attention.attention_U.0": "pooling.gate",
    "attention.attention_weights": "pooling.attention",
    "bag_attention": "bag_reader",
    "sub_attention": "readers",
    "classifier": "branch_classifiers",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "output",
}


def renamed(name: str) -> str:
    if name == "q":
        return "tokens"
    if name.startswith("Slide_"):
        return name.replace("Slide_classifier.fc", "classifier")
    for official, ours in NAMES.items():
        name = name.replace(official, ours)
    return name.replace(".fc.", ".")


def bags(sizes: list[int]) -> tuple[Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), C), Blocks.from_ptr(ptr)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("case", "layer"),
    [
        ("ga_0", lambda: ACMIL(12, 16, 8, 3, branches=5)),
        ("ga_1", lambda: ACMIL(10, 24, 8, 2, branches=2)),
        ("mha_0", lambda: MultiheadACMIL(12, 16, 3, branches=4)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bags_are_classified_as_by_the_authors_code(
    case: str, layer: type[nn.Module], dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "acmil" / f"{case}.npz", dtype, renamed)
    if case == "mha_0":
        golden.arrays["param.q"] = golden.arrays["param.q"][0]
    ours = golden.load(layer())
    x = golden.inputs["x"][0]
    bag, branches, _, logits = ours(x, Blocks.from_ptr(torch.tensor([0, len(x)])))
    logits = logits if case == "mha_0" else logits.unsqueeze(2)  # (N, branches, heads)
    logits = logits.permute(2, 1, 0)
    golden.check(ours, out=branches[0], bag_out=bag, attn_logits=logits)


def test_pooling_is_the_formula_with_weights_to_train_on() -> None:
    pooling = GatedAttentionPooling(C, 8, branches=2)
    x, blocks = bags(SIZES)
    pooled, weights, logits = pooling(x, blocks, return_weights=True, return_logits=True)
    expected = pooling.attention(pooling.hidden(x).tanh() * pooling.gate(x).sigmoid())
    assert_close(logits, expected)
    parts = zip(expected.split(SIZES), x.split(SIZES), strict=True)
    assert_close(pooled, torch.stack([part.softmax(0).t() @ own for part, own in parts]))
    assert_close(weights, torch.cat([part.softmax(0) for part in expected.split(SIZES)]))
    (gradient,) = torch.autograd.grad(weights.square().sum(), [pooling.attention.weight])
    assert gradient.abs().max() > 1e-4


@pytest.mark.parametrize(
    "layer",
    [
        lambda: ACMIL(C, C, 8, 3, branches=2),
        lambda: MultiheadACMIL(C, 16, 3, branches=2),
        lambda: GatedAttentionPooling(C, 8, branches=2),
    ],
    ids=["ACMIL", "MultiheadACMIL", "GatedAttentionPooling"],
)
def test_a_bag_counts_the_same_alone_in_a_batch_and_in_any_order(layer: type[nn.Module]) -> None:
    ours = layer().eval()

    def classify(x: Tensor, sizes: list[int]) -> Tensor:
        out = ours(x, Blocks.from_ptr(torch.tensor([0, *sizes]).cumsum(0)))
        found: Tensor = out[0] if isinstance(out, tuple) else out
        return found

    x, _ = bags(SIZES)
    together = classify(x.requires_grad_(), SIZES)
    assert together.isfinite().all()
    together.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for own, expected in zip(x.split(SIZES), together, strict=True):
        order = torch.randperm(len(own))
        assert_close(classify(own[order], [len(own)])[0], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: ACMIL(C, C, 8, 3, branches=2, masking=(4, 0.5)),
        lambda: MultiheadACMIL(C, 16, 3, branches=2, masking=(4, 0.5)),
    ],
    ids=["ACMIL", "MultiheadACMIL"],
)
def test_training_leaves_out_half_of_the_highest_four(layer: type[nn.Module]) -> None:
    ours = layer().train()
    x, blocks = bags(SIZES)
    _, branches, weights, logits = ours(x.requires_grad_(), blocks)
    assert branches.isfinite().all()
    left_out = (weights == 0).flatten(1)
    counts = [int(part.sum(0).max()) for part in left_out.split(SIZES) if len(part)]
    assert counts == [2, 0, 2]  # of a bag of one, half of one is none
    assert (left_out.split(SIZES)[3].sum(0) == 2).all()
    assert (logits.flatten(1)[left_out] == -1e9).all()
    ours.eval()
    assert (ours(x, blocks)[2] > 0).all()


def test_what_is_left_out_is_drawn_anew_from_the_highest_of_every_bag() -> None:
    _, blocks = bags(SIZES)
    logits = torch.randn(sum(SIZES), 3)
    generator = torch.Generator().manual_seed(0)
    kept = torch.stack([keep_at_random(logits, blocks, 3, 0.7, generator) for _ in range(60)])
    ever = (kept == 0).any(0)  # left out at least once
    for own, part in zip(ever.split(SIZES), logits.split(SIZES), strict=True):
        top = part.topk(min(3, len(part)), dim=0).indices
        expected = torch.zeros_like(own).scatter(0, top, len(part) > 1)
        assert torch.equal(own, expected)
    assert torch.equal((kept == 0).sum(1)[:, 0], torch.tensor([2 + 0 + 2] * 60))
    assert torch.equal(keep_at_random(logits, blocks, 3, 0.0), torch.ones_like(logits))


def test_a_bag_of_which_all_is_left_out_has_equal_weights() -> None:
    pooling = GatedAttentionPooling(C, 8)
    x, blocks = bags(SIZES)
    _, weights = pooling(x, blocks, torch.zeros(len(x), 1), return_weights=True)
    assert_close(weights[:4], torch.full((4, 1), 0.25))


def test_similarity_is_the_mean_cosine_of_branches_bag_by_bag() -> None:
    _, blocks = bags(SIZES)
    weights = torch.rand(sum(SIZES), 3, requires_grad=True)
    cosines = [
        F.cosine_similarity(part[:, first], part[:, second], dim=0)
        for part in weights.split(SIZES)
        for first, second in ((0, 1), (0, 2), (1, 2))
    ]
    found, expected = branch_similarity(weights, blocks), torch.stack(cosines).mean()
    assert_close(found, expected)
    (own,) = torch.autograd.grad(found, weights)
    (other,) = torch.autograd.grad(expected, weights)
    assert_close(own, other)
    assert branch_similarity(weights[:, :1], blocks) == 0


def test_bad_input_is_named() -> None:
    x, blocks = bags(SIZES)
    pooling = GatedAttentionPooling(C, 8)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        pooling(x, 4)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        pooling(x.long(), blocks)
    with pytest.raises(ValueError, match=r"x must be \(14, 24\), got \(14, 5\)"):
        ACMIL(C, C, 8, 3)(x[:, :5], blocks)
    with pytest.raises(ValueError, match=r"keep must be \(14, 1\), got \(14, 2\)"):
        pooling(x, blocks, torch.ones(14, 2))
    with pytest.raises(ValueError, match="heads must divide channels = 8, got 3"):
        MultiheadACMIL(C, 8, 3, heads=3)
    with pytest.raises(ValueError, match=r"drop in \[0, 1\], got 3 and 1\.5"):
        keep_at_random(x, blocks, 3, 1.5)
