"""Watchers of a training run: which epoch is best, when to stop, what to remember."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import callbacks
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


class Selection(callbacks.EarlyStopping):
    """Keeps the weights of the best epoch, judged on validation data, and stops after patience.

    Subclasses say in ``judge`` what better means. The weights are held in memory and travel with
    the checkpoint to resume from, so that an improving epoch costs a copy and no file.

    Args:
        patience: Number of epochs without hope after which training stops.

    Attributes:
        averages: Whether what is kept is no epoch's own, and is to be validated by itself.
    """

    averages = False

    def __init__(self, patience: int) -> None:
        # Lightning stops when a logged number no longer grows: the number of hopeful epochs.
        super().__init__(monitor="hopeful_epochs", mode="max", patience=patience)
        self.kept: dict[str, Any] = {"hopeful_epochs": 0, "best_epoch": -1, "weights": {}}
        self.kept["goal_reached"] = False

    def judge(self, numbers: Mapping[str, float]) -> tuple[bool, bool]:
        """Whether to keep this epoch's weights, and whether to start patience anew."""
        raise NotImplementedError

    def joined(self, weights: dict[str, Tensor], trainer: Any) -> dict[str, Tensor]:
        """What is kept of an epoch's weights; all of them, and nothing else."""
        return weights

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        # A run that is resumed after it has stopped shall not train one more epoch.
        if self.kept["goal_reached"] or self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING:  # what was kept is looked at once more
            return
        keep, hopeful = self.judge(_floats(trainer.callback_metrics))
        if keep:
            weights = {k: v.detach().clone() for k, v in pl_module.model.state_dict().items()}
            self.kept.update(
                weights=self.joined(weights, trainer), best_epoch=trainer.current_epoch
            )
        self.kept["hopeful_epochs"] += int(hopeful)
        pl_module.log(self.monitor, float(self.kept["hopeful_epochs"]), sync_dist=False)
        if self.kept["goal_reached"]:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.kept = state_dict["kept"]


class BestValue(Selection):
    """Best is the epoch with the lowest, or highest, value of one validation number.

    Args:
        monitor: Name of the number, e.g. ``"validation_loss"``.
        mode: ``"min"`` if less is better, else ``"max"``.
        patience: Number of epochs without a better value after which training stops.
        goal: Value at which training stops at once, e.g. an accuracy of 1.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        mode: Literal["min", "max"] = "min",
        patience: int = 100,
        goal: float | None = None,
    ) -> None:
        super().__init__(patience)
        self.number, self.sign = monitor, 1.0 if mode == "min" else -1.0
        self.goal = -math.inf if goal is None else self.sign * goal
        self.kept["best"] = math.inf

    def judge(self, numbers: Mapping[str, float]) -> tuple[bool, bool]:
        """Better is strictly better; NaN never is."""
        if self.number not in numbers:
            raise ValueError(f"monitor must be one of {sorted(numbers)}, got {self.number!r}")
        better = self.sign * numbers[self.number] < self.kept["best"]
        if better:
            self.kept["best"] = self.sign * numbers[self.number]
            self.kept["goal_reached"] = self.kept["best"] <= self.goal
        return better, better


class LossAndAccuracy(Selection):
    """Stopping rule of the graph attention network.

    Patience starts anew when the validation loss or the validation accuracy is at least as good as
    ever before; the kept weights are of the last epoch at which both were.

    Args:
        patience: Number of epochs with neither after which training stops.

    Source: Veličković et al., "Graph Attention Networks", ICLR 2018, and the authors' code.
    """

    def __init__(self, patience: int = 100) -> None:
        super().__init__(patience)
        self.kept.update(loss=math.inf, accuracy=-math.inf)

    def judge(self, numbers: Mapping[str, float]) -> tuple[bool, bool]:
        """Both for keeping, either for hope."""
        loss, accuracy = numbers["validation_loss"], numbers["validation_accuracy"]
        as_good = [loss <= self.kept["loss"], accuracy >= self.kept["accuracy"]]
        self.kept["loss"] = min(self.kept["loss"], loss)
        self.kept["accuracy"] = max(self.kept["accuracy"], accuracy)
        return all(as_good), any(as_good)


class AverageOfLast(Selection):
    """Keeps the mean of the weights after each of the last epochs; validation chooses nothing.

    Args:
        epochs: How many, at least one; all of them if there are not as many.

    Raises:
        ValueError: If ``epochs`` is not positive.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
        UAI 2018 (stochastic weight averaging).
    """

    averages = True

    def __init__(self, epochs: int) -> None:
        super().__init__(patience=1)
        if epochs < 1:
            raise ValueError(f"epochs must be positive, got {epochs}")
        self.epochs = epochs

    def judge(self, numbers: Mapping[str, float]) -> tuple[bool, bool]:
        """Every epoch is kept until the next, and none is without hope."""
        return True, True

    def joined(self, weights: dict[str, Tensor], trainer: Any) -> dict[str, Tensor]:
        """The mean with those kept before, once the last epochs have begun."""
        first = max(trainer.max_epochs - self.epochs, 0)
        before = trainer.current_epoch - first
        if before <= 0:
            return weights
        # A sum of means and differences: no digits are lost to large sums.
        return {
            name: kept.lerp(weights[name], 1 / (before + 1))
            if kept.is_floating_point()
            else weights[name]
            for name, kept in self.kept["weights"].items()
        }


class Curve(callbacks.Callback):
    """Remembers the numbers of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        numbers = _floats(trainer.callback_metrics)
        numbers.pop("hopeful_epochs", None)
        self.rows.append({"epoch": trainer.current_epoch, **numbers})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]


class RandomState(callbacks.Callback):
    """Carries PyTorch's random numbers through a checkpoint, which Lightning does not."""

    def state_dict(self) -> dict[str, Any]:
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        torch.set_rng_state(state_dict["cpu"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state_dict["cuda"])


def _floats(numbers: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items()}
