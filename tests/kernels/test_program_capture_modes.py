"""What else capture refuses, what a function may return, and that capture leaves no trace."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from edge_programs import CHANNELS, HEADS, captured, dot_product
from refusals import refused
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.kernels.program import CaptureError, InputSpec, UserFunction, capture


class RoundStraight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def without_grad(query: Tensor) -> Tensor:
    with torch.no_grad():
        shift = query.amax(-1)
    return query.sum(-1) - shift


UNKNOWN: dict[str, tuple[Callable[..., Any], str]] = {
    "fft": (lambda query: torch.fft.fft(query).real.sum(-1), "_fft_r2c"),
    "svd": (lambda query: torch.linalg.svdvals(query).expand(-1, HEADS), "svd"),
    "convolution": (lambda query, vector: F.conv1d(query, vector[None]), "convolution"),
    "channel sort": (lambda query: query.sort(-1).values.sum(-1), "sort"),
    "topk": (lambda query: query.topk(2).values.sum(-1), "topk"),
    "gather": (lambda query: query.gather(1, query[..., :1].long())[..., 0], "gather"),
    "complex": (lambda query: torch.complex(query[..., 0], query[..., 1]).abs(), "complex"),
    "as_strided": (lambda query: query.as_strided((len(query), HEADS), (12, 4)), "as_strided"),
    "bits": (lambda query: query.sum(-1) * (query[..., 0].long() & 1), "bool only"),
    "outside": (lambda query: query[:, [0, 7]].sum(-1), "position 7 of an axis of size 3"),
    "far outside": (lambda query: query[:, [0, -4]].sum(-1), "position -4"),
    "two indices": (lambda query: query[:, [0, 1, 2], [0, 1, 0]], "one list of constant positions"),
    "a long constant": (lambda query: query.sum(-1) + torch.arange(9000).sum(), "9000 elements"),
    "wrong shapes": (lambda query: (query + torch.ones(7)).sum(-1), "add failed"),
    "select outside": (lambda query: query[:, 7].sum(-1), "failed"),
    "wrong axis": (lambda query: query.sum(5), "sum failed"),
    "derivative": (lambda query: torch.autograd.grad(query.sum(), query)[0], "grad failed"),
    "custom derivative": (lambda query: RoundStraight.apply(query).sum(-1), "autograd.Function"),
    "no_grad": (without_grad, "no_grad"),
    "in place on target": (lambda query: query.mul_(2).sum(-1), "writes to the input 'query'"),
    "in place on edge": (lambda edge: edge.add_(1).sum(-1), "writes to the input 'edge'"),
    "in place on shared": (
        lambda query, scale: query.sum(-1) * scale.add_(1),
        "writes to the input 'scale'",
    ),
    "in place on a view": (lambda query: query[:, :1].zero_().sum(-1) + query.sum(-1), "'query'"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_a_program_does_not_know_is_refused(name: str) -> None:
    function, words = UNKNOWN[name]
    if name != "custom derivative":
        refused(function, words)
        return
    with pytest.raises(CaptureError, match=words):  # the line is that of its forward
        captured(function)


RETURNS: dict[str, tuple[Callable[..., Any], str]] = {
    "three axes": (lambda query: query * 1, r"score must return \(E, H\), got \(E, 3, 4\)"),
    "one axis": (lambda query: query.sum((1, 2)), r"score must return \(E, H\), got \(E,\)"),
    "transposed": (lambda query: query.sum(-1).T, r"got \(3, E\)"),
    "merged": (lambda query: query.reshape(-1, CHANNELS), r"got \(3 \* E, 4\)"),
    "one row": (lambda vector: vector.sum(-1)[None], r"got \(1, 3\)"),
    "nothing": (lambda query: None, "got None"),
    "a number": (lambda query: 1.0, "got a float"),
    "a list": (lambda query: [query.sum(-1)], "got a list"),
    "a pair": (lambda query: (query.sum(-1), query.sum(-1)), "got a tuple"),
    "integers": (lambda query: query.sum(-1).long(), "floating point, got torch.int64"),
    "bools": (lambda query: query.sum(-1) > 0, "floating point, got torch.bool"),
}


@pytest.mark.parametrize("name", RETURNS)
def test_what_is_no_tensor_of_logits_is_refused(name: str) -> None:
    function, words = RETURNS[name]
    with pytest.raises(CaptureError, match=words):
        captured(function)


def test_a_message_has_three_axes() -> None:
    with pytest.raises(CaptureError, match=r"message must return \(E, H, C\), got \(E, 3\)"):
        captured(lambda query: query.sum(-1), output="message")


def test_a_module_that_drops_at_random_is_refused_in_training_alone() -> None:
    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(CHANNELS, 1), nn.Dropout(0.5))

        def forward(self, query: Tensor) -> Tensor:
            return self.layers(query).squeeze(-1)

    score = Score().double()
    with pytest.raises(CaptureError, match="draws random numbers"):
        captured(score)
    captured(score.eval())


def test_errors_of_the_users_own_are_passed_on() -> None:
    def score(query: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        captured(score)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *query: query[0], "must name each of its inputs"),
        (lambda **query: query, "must name each of its inputs"),
        (lambda query, /: query, "must name each of its inputs"),
        (torch.add, "must name its inputs"),
        (3, "must be a function or an nn.Module"),
        (None, "must be a function or an nn.Module"),
    ],
)
def test_functions_must_name_their_inputs(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        UserFunction.of(function, "score")


def test_capture_leaves_no_trace() -> None:
    log = logging.getLogger("torch._subclasses.fake_tensor")
    for function in (dot_product, without_grad, UNKNOWN["wrong shapes"][0]):
        try:
            captured(function)
        except CaptureError:
            assert function is not dot_product
        assert torch.is_grad_enabled()
        assert not log.disabled
        assert type(torch.ones(1) + 1) is Tensor


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        torch.enable_grad,
    ],
)
def test_a_program_is_the_same_in_every_mode_of_autograd(mode: Callable[[], Any]) -> None:
    def score(query: Tensor, matrix: Tensor, vector: Tensor) -> Tensor:
        x = F.linear(query, matrix[0], vector[0]).clone()
        x[:, 0] = 0
        return F.layer_norm(x, (CHANNELS,)).var(-1)

    expected = str(captured(score))
    with mode():
        assert str(captured(score)) == expected


def test_a_function_is_captured_inside_any_transform() -> None:
    texts = [str(captured(dot_product))]

    def traced(x: Tensor) -> Tensor:
        texts.append(str(captured(dot_product)))
        return x.sum()

    torch.vmap(traced)(torch.ones(2, 2))
    torch.func.grad(traced)(torch.ones(2))
    torch.func.hessian(traced)(torch.ones(2))
    assert len(texts) > 3
    assert len(set(texts)) == 1


def test_threads_capture_side_by_side() -> None:
    expected = str(captured(dot_product))
    texts: list[str] = []

    def work() -> None:
        texts.extend(str(captured(dot_product)) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [expected] * 12


def test_a_large_shared_input_may_have_any_size() -> None:
    specs = {
        "query": InputSpec("target", (1009,), torch.float32),
        "table": InputSpec("shared", (1009, HEADS), torch.float32),
    }
    user = UserFunction.of(lambda query, table: query @ table, "score")
    assert [step.operation for step in capture({"logits": user}, specs, {}).steps] == ["matmul"]
