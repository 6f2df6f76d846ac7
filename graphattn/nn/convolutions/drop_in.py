"""What the drop-in layers share: when PyTorch Geometric's own path is taken, structures, checks."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense import Linear

from graphattn.edge_list import EdgeList
from graphattn.edges import Edges
from graphattn.structure_memory import edges_of
from graphattn.traced import can_trace

_STEPS = ("message", "edge_update", "aggregate", "update", "message_and_aggregate")
_LOOPS = ("propagate", "edge_updater")
_HOOKS = (
    "_propagate_forward_pre_hooks",
    "_propagate_forward_hooks",
    "_message_forward_pre_hooks",
    "_message_forward_hooks",
    "_aggregate_forward_pre_hooks",
    "_aggregate_forward_hooks",
    "_edge_update_forward_pre_hooks",
    "_edge_update_forward_hooks",
)


class DropIn:
    """Mixed into a layer of PyTorch Geometric whose attention then runs as an edge program.

    The layer inherits parameters, constructor and ``repr`` from PyTorch Geometric, and its path of
    ``edge_updater`` and ``propagate`` too: whatever wants to see or change messages takes that one.
    """

    #: Whether edge features of shape ``(E,)`` are taken for ``(E, 1)``.
    widens = True

    # PyTorch Geometric writes these anew for each class at its first instance, and keeps what they
    # were before for explainers and decomposed layers: that must not be what it wrote for its own.
    propagate = MessagePassing.propagate
    edge_updater = MessagePassing.edge_updater

    def needs_propagate(
        self, x: Any, edge_index: Any, edge_attr: Tensor | None, wants_weights: bool
    ) -> bool:
        """Whether this call must take PyTorch Geometric's own path.

        It must for sparse adjacencies, message-passing hooks, a subclass that overrides a step of
        message passing, an aggregation other than the sum, decomposed layers, an explainer's
        ``explain_message``, inside ``torch.jit.trace``, and inside ``torch.compile`` for what
        operators cannot do: other devices, and features or weights of loops that are added, since
        how many edges there are is then known only when the operator runs.
        """
        shows_messages = self._shows_messages()
        if isinstance(edge_index, Edges):
            if shows_messages:
                raise ValueError(
                    "edge_index must be an edge list, not Edges, for a layer whose message passing"
                    " is hooked, overridden or decomposed, or whose aggr is not the sum"
                )
            return False
        return (
            shows_messages
            or torch.jit.is_tracing()  # type: ignore[attr-defined]
            or not (isinstance(edge_index, Tensor) and edge_index.layout == torch.strided)
            or (
                torch.compiler.is_compiling()
                and not self._can_trace(x, edge_index, edge_attr, wants_weights)
            )
        )

    def _can_trace(
        self, x: Any, edge_index: Tensor, edge_attr: Tensor | None, wants_weights: bool
    ) -> bool:
        layer: Any = self
        counts_edges = edge_attr is not None or wants_weights or layer.explain
        features = (x,) if isinstance(x, Tensor) else x
        return (
            not isinstance(edge_index, EdgeIndex)
            and not (counts_edges and getattr(layer, "add_self_loops", False))
            and can_trace(edge_index.device, [*features, edge_attr, *layer.parameters()])
        )

    def _shows_messages(self) -> bool:
        layer: Any = self
        return (
            layer.aggr not in ("add", "sum")
            or layer.decomposed_layers != 1
            or any(getattr(layer, hooks) for hooks in _HOOKS)
            or self._overrides_message_passing()
            or (layer.explain and (layer._edge_mask is None or "explain_message" in vars(layer)))
        )

    def _overrides_message_passing(self) -> bool:
        order = type(self).__mro__
        # The class after this one in the order of resolution is PyTorch Geometric's layer.
        original = order[order.index(DropIn) + 1]
        above = [own for own in order[: order.index(original)] if own is not DropIn]
        return any(
            name in vars(self) or getattr(type(self), name) is not getattr(original, name)
            for name in _STEPS
        ) or any(_overrides(own, name) for own in above for name in _LOOPS)

    def structure(
        self,
        edge_index: Tensor | Edges,
        num_sources: int,
        num_targets: int,
        self_loops: bool = False,
    ) -> Any:
        """The structure of ``edge_index``, remembered from call to call; an ``Edges`` as it is.

        Inside ``torch.compile`` it is an ``EdgeList``, of which operators make a structure.
        """
        layer: Any = self
        if isinstance(edge_index, Edges):
            _check_edges(edge_index, num_sources, num_targets, layer.flow, self_loops)
            return edge_index
        if torch.compiler.is_compiling():
            return EdgeList([edge_index], num_sources, num_targets, layer.flow, self_loops)
        return edges_of(
            edge_index, num_sources, num_targets, flow=layer.flow, self_loops=self_loops
        )

    def explanation(self, edges: Edges) -> dict[str, Tensor]:
        """The mask of an explainer that has set one, as the input ``mask`` of the message, (E,)."""
        layer: Any = self
        if not layer.explain:
            return {}
        mask = layer._edge_mask
        mask = mask.sigmoid() if layer._apply_sigmoid else mask
        if mask.shape[0] != edges.num_edges:  # loops were added: they stay as they are
            mask = torch.cat([mask[layer._loop_mask], mask.new_ones(edges.num_loops)])
        return {"mask": mask}

    def features_of(self, edges: Edges, edge_attr: Tensor) -> Tensor:
        """Features of all edges, the added loops' among them, ``(E, edge_dim)``."""
        layer: Any = self
        features = edges.extend(edge_attr, layer.fill_value)
        return features.unsqueeze(-1) if features.ndim == 1 else features

    def finish(self, out: Tensor, x_target: Tensor | None) -> Tensor:
        """What follows the sum in GATConv and GATv2Conv: heads joined, residual, bias."""
        layer: Any = self
        out = out.flatten(1) if layer.concat else out.mean(1)
        if layer.res is not None and x_target is not None:
            out = out + layer.res(x_target)
        return out if layer.bias is None else out + layer.bias

    def check_edge_attr(self, edge_attr: Tensor | None, edge_index: Any) -> None:
        """Refuses edge features that the layer's weights do not fit."""
        layer: Any = self
        if edge_attr is None or self._overrides_message_passing():
            return
        if layer.edge_dim is None:
            raise ValueError(
                f"edge_attr was given to a {type(self).__name__} built without edge_dim: pass"
                " edge_dim to the constructor, or leave edge_attr out"
            )
        if not isinstance(edge_attr, Tensor) or not edge_attr.is_floating_point():
            got = edge_attr.dtype if isinstance(edge_attr, Tensor) else type(edge_attr).__name__
            raise TypeError(f"edge_attr must be a floating-point tensor, got {got}")
        width = layer.lin_edge.in_channels  # -1 as long as it is not known
        shape = edge_attr.shape if edge_attr.ndim != 1 or not self.widens else (*edge_attr.shape, 1)
        if len(shape) != 2 or (width >= 0 and shape[1] != width):
            wanted = width if width >= 0 else "edge_dim"
            raise ValueError(f"edge_attr must be (E, {wanted}), got {tuple(edge_attr.shape)}")
        if edge_attr.device != edge_index.device:
            raise ValueError(
                "edge_attr and edge_index must be on one device, got"
                f" {edge_attr.device} and {edge_index.device}"
            )


def masked(message: Tensor, mask: Tensor | None) -> Tensor:
    """A message ``(E, H, C)`` times an explainer's mask ``(E,)``, if there is one."""
    return message if mask is None else message * mask[:, None, None]


def check_features(x: Tensor, name: str, linear: Linear, edge_index: Tensor | Edges) -> None:
    """Refuses node features that ``linear`` cannot take or that lie elsewhere than the edges."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    width = linear.in_channels
    if x.ndim != 2 or (width > 0 and x.shape[1] != width):
        wanted = width if width > 0 else "in_channels"
        raise ValueError(f"{name} must be (N, {wanted}), got {tuple(x.shape)}")
    if x.device != edge_index.device:
        raise ValueError(
            f"{name} and edge_index must be on one device, got {x.device} and {edge_index.device}"
        )


def edge_index_used(edges: Edges, edge_index: Tensor | Edges) -> Tensor:
    """The edge list that returned weights belong to: the caller's own, or that with loops added."""
    if isinstance(edge_index, Tensor) and not edges.has_own_loops:
        return edge_index
    if isinstance(edge_index, EdgeIndex):
        size = (edges.num_sources, edges.num_targets)
        return EdgeIndex(edges.edge_index, sparse_size=size)
    return edges.edge_index


def _check_edges(
    edges: Edges, num_sources: int, num_targets: int, flow: str, self_loops: bool
) -> None:
    wanted = (num_sources, num_targets, flow, self_loops)
    got = (edges.num_sources, edges.num_targets, edges.flow, edges.has_own_loops)
    names = ("num_sources", "num_targets", "flow", "self_loops")
    for name, ours, theirs in zip(names, wanted, got, strict=True):
        if ours != theirs:
            raise ValueError(f"edge_index must be Edges with {name}={ours!r}, got {theirs!r}")


def _overrides(own: type, name: str) -> bool:
    # PyTorch Geometric writes these two anew for every class, into modules that it names so.
    generated = f"{own.__module__}_{own.__name__}_{name}"
    return name in vars(own) and vars(own)[name].__module__ != generated
