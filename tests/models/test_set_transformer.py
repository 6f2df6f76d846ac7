"""The Set Transformer and DeepSets against stored results of the official code."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from official import TOLERANCES, load, part
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.models import DeepSets, SetTransformer
from graphattn.nn.sets.set_transformer_blocks import ISAB, MAB, OFFICIAL_CODE, PMA, SAB

CASES = (
    *("deepset_0", "isab_0_h4_m6_ln0", "isab_1_h4_m3_ln1"),
    *("mab_0_h4_ln0", "mab_1_h4_ln1", "mab_2_h8_ln1"),
    *("model_0_h4_ln0", "model_1_h4_ln1", "pma_0_h4_s1_ln0", "pma_1_h8_s4_ln1"),
    *("sab_0_h4_ln0", "sab_1_h8_ln1"),
)
# Where heads have one width, one program serves all of them: fewer kernels are compiled.
RAGGED_CASES = tuple(
    name for name in CASES if name.endswith("_ln0") or name.startswith(("mab_1", "deepset"))
)
# Official names of parameters and ours.
NAMES = {
    "fc_q": "query",
    "fc_k": "key",
    "fc_v": "value",
    "fc_o": "feedforward",
    "ln0": "attended_norm",
    "ln1": "output_norm",
    "mab0": "read",
    "mab1": "write",
    "I": "points",
    "S": "seeds",
}
PLACES = {"enc": "encoder", "dec.0": "pooling", "dec.1": "decoder.0", "dec.2": "decoder.1"}
PLACES |= {"dec.3": "decoder.2"}


def our_name(name: str, is_model: bool) -> str:
    """``enc.0.mab0.fc_q.weight`` is ``encoder.0.read.query.weight``."""
    for official, ours in PLACES.items() if is_model else ():
        if name.startswith(f"{official}."):
            name = name.replace(official, ours, 1)
    return ".".join(NAMES.get(part, part) for part in name.split("."))


def official(settings: dict[str, Any]) -> nn.Module:
    form = dataclasses.replace(
        OFFICIAL_CODE, heads=settings.get("num_heads", 4), layer_norm=settings.get("ln", False)
    )
    match settings["cls"]:
        case "MAB":
            return MAB(settings["dim_Q"], settings["dim_K"], settings["dim_V"], form)
        case "SAB":
            return SAB(settings["dim_in"], settings["dim_out"], form)
        case "ISAB":
            return ISAB(settings["dim_in"], settings["dim_out"], settings["num_inds"], form)
        case "PMA":
            return PMA(settings["dim"], settings["num_seeds"], form)
    sizes = [settings[name] for name in ("dim_input", "dim_output", "num_outputs")]
    if settings["cls"] == "DeepSet":
        return DeepSets(*sizes, settings["dim_hidden"])
    return SetTransformer(*sizes, settings["dim_hidden"], settings["num_inds"], form)


class Golden:
    """One stored case, with arrays of one type under our names."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.arrays, self.dtype = load(path), dtype
        self.settings = json.loads(str(self.arrays["cfg"]))
        self.layer = official(self.settings).to(dtype)
        if self.settings["cls"] == "DeepSet":
            self.rename = lambda name: name.replace("enc", "encoder").replace("dec", "decoder")
        else:
            is_model = self.settings["cls"] == "SetTransformer"
            self.rename = lambda name: our_name(name, is_model)
        state = {self.rename(name): own for name, own in self.part("param").items()}
        for name in [name for name in state if name.endswith(("points", "seeds"))]:
            state[name] = state[name][0]  # theirs have one row of sets
        self.layer.load_state_dict(state)
        self.inputs = [own.requires_grad_() for own in self.part("in").values()]

    def part(self, prefix: str) -> dict[str, Tensor]:
        return part(self.arrays, prefix, self.dtype)

    def check(self, output: Tensor) -> None:
        """Output and gradients are the stored ones."""
        tolerance = {"atol": TOLERANCES[self.dtype], "rtol": TOLERANCES[self.dtype]}
        assert_close(output, self.part("out")["out"], **tolerance)
        (output * self.part("cot")["out"]).sum().backward()
        parameters = dict(self.layer.named_parameters())
        gradients = {self.rename(name): own for name, own in self.part("grad_param").items()}
        assert gradients.keys() == parameters.keys()
        for name, own in parameters.items():
            assert_close(own.grad, gradients[name].view_as(own), **tolerance)
        for given, own in zip(self.inputs, self.part("grad_in").values(), strict=True):
            assert_close(given.grad, own, **tolerance)


def blocks_of(*dense: Tensor) -> Blocks:
    """All sets of dense batches as blocks; the queries first, then the keys."""
    return Blocks.from_ptr(*(torch.arange(len(x) + 1) * x.shape[1] for x in dense))


def test_every_stored_case_is_run(golden_folder: Path) -> None:
    assert {path.stem for path in golden_folder.glob("set_transformer/*.npz")} == set(CASES)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "set_transformer" / f"{case}.npz", dtype)
    golden.check(golden.layer(*golden.inputs))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", RAGGED_CASES)
def test_ragged_outputs_and_gradients_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "set_transformer" / f"{case}.npz", dtype)
    elements = (x.flatten(0, 1) for x in golden.inputs)
    output = golden.layer(*elements, blocks=blocks_of(*golden.inputs))
    golden.check(output.view(golden.part("out")["out"].shape))


def attention_of(
    layer: nn.Module, inputs: list[Tensor], blocks: Blocks | None = None
) -> list[Tensor]:
    """The weights of each attention in a layer, in the order of its calls."""
    found: list[Tensor] = []

    def keep(mab: Any, given: tuple[Tensor, Tensor], options: dict[str, Any]) -> None:
        found.append(mab.attention_weights(*given, **options))

    hooks = [
        inner.register_forward_pre_hook(keep, with_kwargs=True)
        for inner in layer.modules()
        if isinstance(inner, MAB)
    ]
    layer(*inputs, blocks=blocks)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("case", [name for name in CASES if name[:3] not in ("dee", "mod")])
def test_attention_weights_are_the_official_ones(case: str, golden_folder: Path) -> None:
    golden = Golden(golden_folder / "set_transformer" / f"{case}.npz", torch.float64)
    stored = [own for name, own in golden.part("out").items() if name.startswith("attn")]
    for actual, expected in zip(attention_of(golden.layer, golden.inputs), stored, strict=True):
        assert_close(actual, expected, atol=1e-9, rtol=1e-9)
    if case not in RAGGED_CASES:
        return
    elements = [x.flatten(0, 1) for x in golden.inputs]
    ragged = attention_of(golden.layer, elements, blocks_of(*golden.inputs))
    for actual, expected in zip(ragged, stored, strict=True):
        pairs = expected.permute(0, 2, 3, 1).flatten(0, 2)  # (P, H)
        assert_close(actual, pairs, atol=1e-9, rtol=1e-9)
