"""What is to be learnt: data, how predictions are made from a batch, loss and metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, Metric
from torchmetrics.classification import MulticlassAccuracy

Stage = Literal["train", "validation", "test"]
Predict = Callable[[nn.Module, Any, Stage], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Attributes:
        train: Batches of the training data, e.g. a ``DataLoader``; likewise the next two.
        validation: Batches that choose the epoch whose weights are kept.
        test: Batches that are looked at once, after training.
        predict: ``(model, batch, stage)`` to predictions and targets, of equal length.
        loss: Predictions and targets to a scalar: the mean over the rows.
        metrics: Further numbers by name, as ``torchmetrics`` objects; not computed in training.
    """

    train: Iterable[Any]
    validation: Iterable[Any]
    test: Iterable[Any]
    predict: Predict
    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Mapping[str, Metric] = field(default_factory=dict)


class WholeGraph:
    """A loader of one batch: one graph, all of it, every epoch."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def __iter__(self) -> Iterator[Any]:
        yield self.graph

    def __len__(self) -> int:
        return 1


def node_classification(graph: Any, num_classes: int) -> Task:
    """Task of naming the class of nodes in one graph, whole graph at a time.

    Args:
        graph: ``Data`` with ``x`` ``(N, F)``, ``edge_index`` ``(2, E)``, ``y`` ``(N,)`` int64, and
            ``train_mask``, ``val_mask``, ``test_mask`` ``(N,)`` bool. The model is called as
            ``model(x, edge_index)`` and gives one logit per class, ``(N, num_classes)``.
        num_classes: Number of classes.

    Returns:
        The task, with cross-entropy as loss and the metric ``accuracy``, a fraction.
    """
    masks = {"train": "train_mask", "validation": "val_mask", "test": "test_mask"}

    def predict(model: nn.Module, batch: Any, stage: Stage) -> tuple[Tensor, Tensor]:
        mask = batch[masks[stage]]
        return model(batch.x, batch.edge_index)[mask], batch.y[mask]

    loader = WholeGraph(graph)
    accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
    return Task(loader, loader, loader, predict, F.cross_entropy, {"accuracy": accuracy})


def graph_regression(train: Iterable[Any], validation: Iterable[Any], test: Iterable[Any]) -> Task:
    """Task of predicting one number per graph.

    Args:
        train: Batches of graphs with ``y``, ``(G,)`` or ``(G, 1)``, floating point, in any unit.
            The model is called as ``model(batch)`` and gives one number per graph, ``(G,)`` or
            ``(G, 1)``.
        validation: Likewise.
        test: Likewise.

    Returns:
        The task, with the mean absolute error as loss and as the metric ``mae``, in the unit of
        ``y``.
    """

    def predict(model: nn.Module, batch: Any, stage: Stage) -> tuple[Tensor, Tensor]:
        return model(batch).flatten(), batch.y.flatten()

    return Task(train, validation, test, predict, F.l1_loss, {"mae": MeanAbsoluteError()})
