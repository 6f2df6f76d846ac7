"""Attention over edges from a score and a message, two plain functions of the user."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphattn import traced
from graphattn.blocks import Blocks, as_edges
from graphattn.compiled import Compiled, suits
from graphattn.definition import Definition
from graphattn.dropout import drop_weights
from graphattn.edge_list import EdgeList
from graphattn.edges import Edges
from graphattn.kernels.cpp.fallback import is_transformed
from graphattn.kernels.program import Program, UserFunction
from graphattn.kernels.triton.available import is_interpreted
from graphattn.normalizers import Normalizer, Softmax
from graphattn.roles import (
    assign_roles,
    check_input,
    check_names,
    check_type,
    check_weights,
)

Backend = Literal["auto", "reference", "cpp", "triton"]
_BACKENDS = ("auto", "reference", "cpp", "triton")


class EdgeAttention(nn.Module):
    r"""The weighted sum of messages over the edges into every target.

    .. math::
        \mathrm{out}_i = \sum_{j \to i} \operatorname{norm}_j\bigl(\mathrm{score}(t_i, s_j, e_{ji},
        w)\bigr) \cdot \mathrm{message}(t_i, s_j, e_{ji}, w)

    ``score`` and ``message`` are ordinary PyTorch functions over a batch of edges. Each takes some
    of the inputs by name; whose row an edge sees is said by the input's role:

    >>> def score(query, key, distance, width):  # (E, H, C), (E, H, C), (E, 1), (H,)
    ...     return (query * key).sum(-1) - distance / width  # (E, H)
    >>> def message(value):  # (E, H, C)
    ...     return value
    >>> attention = EdgeAttention(score, message, target=["query"], source=["key", "value"],
    ...                           edge=["distance"], shared=["width"])

    The functions are recorded once for each combination of shapes and element types, and checked:
    each edge is computed by itself, from what was passed in, whatever its values. A parameter with
    a default may be left out of a call. Python numbers passed to a shared input, or reached by the
    function in another way, become part of the program.

    Args:
        score: Gives the logits, ``(E, H)``. A function or an ``nn.Module``, whose parameters then
            belong to this module.
        message: Gives what each edge brings to its target, ``(E, H, C)``. Likewise.
        target: Names of inputs with one row for each target.
        source: Names of inputs with one row for each source.
        edge: Names of inputs with one row for each edge, in the order of the edges.
        shared: Names of inputs that all edges see whole.
        normalizer: Turns logits into weights; ``Softmax()`` if not given.
        edge_output: A third function, whose result for each edge, ``(E, ...)``, is returned.
        backend: ``"auto"`` takes compiled kernels where they can run: plain tensors, no
            ``torch.func`` transform, no forward-mode differentiation; on the CPU a C++ compiler
            (one warning without), on a GPU Triton (an error without). ``"cpp"`` and ``"triton"``
            take them or raise, ``"reference"`` is plain PyTorch.
        check: Whether the functions are recorded and checked. ``False`` needs the reference
            backend, which then runs anything.

    Shapes:
        - inputs: ``(N_target, ...)``, ``(N_source, ...)``, ``(E, ...)`` or, for shared ones, any
        - output: ``(N_target, H, C)``; a target without edges gets zeros

    Raises:
        ValueError: If a function has a parameter that is no input, an input is used by no function,
            or a name has two roles.
    """

    def __init__(
        self,
        score: Callable[..., Tensor],
        message: Callable[..., Tensor],
        *,
        target: Iterable[str] = (),
        source: Iterable[str] = (),
        edge: Iterable[str] = (),
        shared: Iterable[str] = (),
        normalizer: Normalizer | None = None,
        edge_output: Callable[..., Tensor] | None = None,
        backend: Backend = "auto",
        check: bool = True,
    ) -> None:
        super().__init__()
        if backend not in _BACKENDS:
            raise ValueError(f"backend must be one of {_BACKENDS}, got {backend!r}")
        if not check and backend != "reference":
            raise ValueError(f'check=False needs backend="reference", got backend={backend!r}')
        self.score, self.message, self.edge_output = score, message, edge_output
        self.normalizer = Softmax() if normalizer is None else normalizer
        self.backend, self.check = backend, check
        self.functions = {
            "logits": UserFunction.of(score, "score"),
            "message": UserFunction.of(message, "message"),
        }
        if edge_output is not None:
            self.functions["edge_output"] = UserFunction.of(edge_output, "edge_output")
        self.roles = assign_roles(
            {"target": target, "source": source, "edge": edge, "shared": shared}, self.functions
        )
        self._definition = Definition(self.functions, self.roles)
        self._compiled = Compiled(self._definition, backend)

    def forward(
        self,
        edges: Edges | Blocks,
        *,
        weights: Tensor | None = None,
        dropout: float = 0.0,
        return_weights: bool = False,
        return_dropped: bool = False,
        return_logits: bool = False,
        **inputs: Any,
    ) -> Any:
        """Attends.

        Args:
            edges: The structure: edges, or all pairs inside each set.
            weights: Weights to use in place of the score's, ``(E, H)``; inputs of the score alone
                may then be left out.
            dropout: Probability with which a weight is set to zero; the others grow by
                ``1 / (1 - dropout)``. The mask is the one that ``F.dropout`` would draw for
                weights in the order of the edges; between all pairs of blocks, where no mask is
                made, one that is drawn in the kernel.
            return_weights: Also returns the weights before dropout, ``(E, H)``.
            return_dropped: Also returns the weights after dropout, ``(E, H)``.
            return_logits: Also returns the logits, ``(E, H)``.
            **inputs: The inputs by name. Shared ones may be Python numbers.

        Returns:
            The output, ``(N_target, H, C)``. With an ``edge_output`` or a ``return_`` flag, a tuple
            of the output and, in this order, the edge output, the weights, the dropped weights and
            the logits, as far as they are there.

        Raises:
            TypeError: If an input is missing, unknown, or no floating-point tensor.
            ValueError: If a shape does not fit the structure, or devices differ.
            CaptureError: If a function is no edge program.
        """
        if not isinstance(edges, Edges | EdgeList | Blocks):
            raise TypeError(
                f"edges must be a graphattn.Edges or graphattn.Blocks, got {type(edges).__name__}"
            )
        functions = dict(self.functions)
        if weights is not None:
            functions.pop("logits")
            check_weights(weights, edges.num_edges, edges.device)
            if return_logits:
                raise ValueError("return_logits needs the score to run, but weights= were passed")
        self._check_inputs(edges, functions, inputs)
        flags = {
            "output": True,
            "edge_output": self.edge_output is not None,
            "weights": return_weights,
            "dropped": return_dropped,
            "logits": return_logits,
        }
        wanted = [name for name, is_wanted in flags.items() if is_wanted]
        if self._is_compiled(edges, inputs, weights):
            attend: Any = traced.attend if torch.compiler.is_compiling() else Compiled.attend
            parts = attend(self._compiled, edges, inputs, self.normalizer, weights, dropout, wanted)
        else:
            if self.check and not torch.compiler.is_compiling():
                self._compiled.plan(inputs, functions)
            listed = as_edges(edges)
            parts = self._definition.attend(
                listed,
                inputs,
                lambda logits: self.normalizer(logits, listed),
                lambda weights: drop_weights(edges, weights, dropout),
                weights=weights,
            )
        results = tuple(parts[name] for name in wanted)
        return results[0] if len(results) == 1 else results

    def _is_compiled(
        self, edges: Edges | Blocks, inputs: dict[str, Any], weights: Tensor | None
    ) -> bool:
        if self.backend == "reference":
            return False
        has_weights = weights is not None
        if torch.compiler.is_compiling() and not traced.fits(edges, self.normalizer, has_weights):
            return False
        states = [user.state().values() for user in self.functions.values()]
        tensors = [*inputs.values(), weights, *itertools.chain(*states)]
        if self.backend == "auto":
            can_run = traced.can_trace if torch.compiler.is_compiling() else suits
            return can_run(edges.device, tensors)
        if not _runs_on(self.backend, edges.device):
            places = {"cpp": "on the CPU", "triton": "on a GPU, or in Triton's interpreter"}
            raise ValueError(
                f'backend "{self.backend}" is for edges {places[self.backend]}, got'
                f' {edges.device}: use backend="auto"'
            )
        if is_transformed():
            raise ValueError(
                f'backend "{self.backend}" cannot run inside torch.func, such as vmap, or'
                ' forward-mode differentiation: use backend="auto"'
            )
        return True

    def program(self, **inputs: Any) -> Program:
        """The edge program for inputs of these shapes and element types.

        ``print(attention.program(...))`` shows what is computed for each edge.

        Args:
            **inputs: As in ``forward``.

        Raises:
            TypeError: If an input is missing, unknown, or no floating-point tensor.
            CaptureError: If a function is no edge program.
        """
        check_names(inputs, self.roles, self.functions)
        for name, value in inputs.items():
            check_type(name, value, self.roles[name])
        return self._compiled.plan(inputs, self.functions).program

    def _check_inputs(
        self, edges: Edges | Blocks, functions: dict[str, UserFunction], inputs: dict[str, Any]
    ) -> None:
        check_names(inputs, self.roles, functions)
        rows = {"target": edges.num_targets, "source": edges.num_sources}
        if "edge" in [self.roles[name] for name in inputs]:
            rows["edge"] = edges.num_edges
        for name, value in inputs.items():
            check_input(name, value, self.roles[name], rows, edges.device)

    def __getstate__(self) -> dict[str, Any]:
        # Recorded anew where they are needed.
        return {**self.__dict__, "_compiled": Compiled(self._definition, self.backend)}

    def extra_repr(self) -> str:
        names = {
            role: [name for name, own in self.roles.items() if own == role]
            for role in ("target", "source", "edge", "shared")
        }
        return ", ".join(f"{role}={own}" for role, own in names.items() if own)


def _runs_on(backend: Backend, device: torch.device) -> bool:
    """Whether a backend's kernels run on a device."""
    if backend == "cpp":
        return device.type == "cpu"
    return device.type == "cuda" or is_interpreted()
