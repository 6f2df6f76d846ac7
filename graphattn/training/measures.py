"""Numbers that are no means over batches: computed once, of all predictions of an epoch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class MeasureOfAll(Metric):
    """Any function of all targets and predictions as a metric of a ``Task``.

    Predictions are kept, on all devices together, until the epoch is over.

    Args:
        evaluate: From targets and predictions, ``(G, ...)`` each and on the device, to a number,
            such as the official evaluator of a benchmark.
    """

    full_state_update = False

    def __init__(self, evaluate: Callable[[Tensor, Tensor], float]) -> None:
        super().__init__()
        self.evaluate = evaluate
        self.add_state("predictions", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Adds a batch."""
        self.predictions.append(prediction)
        self.targets.append(target)

    def compute(self) -> Tensor:
        """The number, float32."""
        number = self.evaluate(dim_zero_cat(self.targets), dim_zero_cat(self.predictions))
        return torch.tensor(number, device=self.device)
