"""Training: a model, a task and settings in, numbers out."""

import copy
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from graphattn.training.checkpoints import check_same_keys, read, write
from graphattn.training.selection import BestValue, Curve, RandomState, Selection
from graphattn.training.tasks import Stage, Task, WholeGraph


@dataclass(frozen=True)
class Settings:
    """What a training run is told; two runs with equal settings give equal numbers on one device.

    Attributes:
        max_epochs: Passes over the training data at most.
        learning_rate: Step size of the optimizer.
        weight_decay: Of the optimizer; Adam adds it to the gradient as an L2 penalty.
        gradient_clip: Norm to which longer gradients are shortened; ``None`` leaves them.
        seed: Seeds the weights, the order of batches and dropout.
        precision: Lightning's name of the number format, e.g. ``"32-true"`` or ``"bf16-mixed"``.
        accelerator: Lightning's name of the kind of device; ``"auto"`` takes the best there is.
        devices: Number of devices.
        checkpoint_every: Epochs between two checkpoints to resume from.
        progress: Whether a progress bar is shown.
    """

    max_epochs: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    gradient_clip: float | None = None
    seed: int = 0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    checkpoint_every: int = 20
    progress: bool = False


@dataclass(frozen=True)
class Result:
    """What a training run gave; plain numbers, ready for JSON.

    Attributes:
        test: Loss and metrics on the test data, with the weights of ``best_epoch``.
        validation: The same on the validation data.
        best_epoch: Epoch, counted from 0, whose weights were kept.
        epochs: Number of epochs trained in all.
        seconds: Wall time of this call; of a resumed run, of its last part.
        curve: One mapping per epoch: ``epoch``, ``train_loss``, ``validation_loss``, ….
        weights: File of the kept weights; read it with ``load_weights``.
    """

    test: dict[str, float]
    validation: dict[str, float]
    best_epoch: int
    epochs: int
    seconds: float
    curve: list[dict[str, float]]
    weights: Path


def fit(
    build: Callable[[], nn.Module],
    task: Task,
    settings: Settings,
    folder: str | Path,
    selection: Selection | None = None,
    schedule: Callable[[float], float] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> Result:
    """Train a model, keep the weights that validation chooses, and test them once.

    Called again with the same folder, it continues from the last checkpoint there, on one device
    to the very numbers of a run that was never interrupted (PyTorch's random numbers are restored;
    those of NumPy and Python, for loaders that use them, are not).

    Args:
        build: Makes the model; called after seeding.
        task: What is to be learnt.
        settings: How.
        folder: Receives ``resume.ckpt`` and ``weights.pt``; made if missing.
        selection: Which epoch is best and when to stop; ``BestValue()`` if left out. The object
            given is copied, never changed.
        schedule: Factor of the learning rate for the part of ``max_epochs`` that is done, from 0 to
            1, asked before every step, e.g. ``one_cycle``; constant if left out.
        optimizer: Called with the parameters, ``lr`` and ``weight_decay``, e.g.
            ``torch.optim.AdamW``.

    Returns:
        The numbers.

    Raises:
        ValueError: If the checkpoint in ``folder`` is damaged, or of another model or other
            settings; if no epoch could be kept (the loss was never a number).
    """
    folder, start = Path(folder), time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    module = _Module(build(), task, settings, schedule, optimizer)
    selection, curve = copy.deepcopy(selection or BestValue()), Curve()
    resume = folder / "resume.ckpt"
    if resume.exists():
        _check_resumable(resume, module)
    with _quiet():
        trainer = _trainer(settings, folder, [selection, curve, RandomState()])
        for loader in (task.train, task.validation, task.test):
            if isinstance(loader, WholeGraph):
                loader.graph = loader.graph.to(trainer.strategy.root_device)
        path = str(resume) if resume.exists() else None
        trainer.fit(module, task.train, task.validation, ckpt_path=path, weights_only=True)
        best = selection.kept["best_epoch"]
        if best < 0:
            raise ValueError(
                f"no epoch of {len(curve.rows)} had a validation loss that is a number"
            )
        module.model.load_state_dict(selection.kept["weights"])
        validation = curve.rows[best]
        if selection.averages:
            validation = trainer.validate(module, task.validation, verbose=False)[0]
        test = trainer.test(module, task.test, verbose=False)[0]
    if trainer.is_global_zero:
        write(module.model.state_dict(), folder / "weights.pt")
    return Result(
        test={k.removeprefix("test_"): v for k, v in test.items()},
        validation={
            k.removeprefix("validation_"): v
            for k, v in validation.items()
            if k.startswith("validation_")
        },
        best_epoch=best,
        epochs=len(curve.rows),
        seconds=time.perf_counter() - start,
        curve=curve.rows,
        weights=folder / "weights.pt",
    )


def one_cycle(done: float) -> float:
    """Schedule that rises evenly over the first tenth of training, then falls as a cosine to 0.

    Args:
        done: Part of training that is done, from 0 to 1.

    Returns:
        Factor of the learning rate, from 0 to 1.
    """
    return 10 * done if done < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.1) / 0.9)


class _Module(lightning.LightningModule):
    """What Lightning trains: the model with its loss and metrics."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        settings: Settings,
        schedule: Callable[[float], float] | None,
        optimizer: Callable[..., torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self.model, self.task, self.settings, self.schedule = model, task, settings, schedule
        self.optimizer = optimizer
        self.metrics = nn.ModuleDict(
            {
                f"{stage}_{name}": copy.deepcopy(metric)
                for stage in ("validation", "test")
                for name, metric in task.metrics.items()
            }
        )

    def _step(self, batch: Any, stage: Stage) -> Tensor:
        prediction, target = self.task.predict(self.model, batch, stage)
        loss = self.task.loss(prediction, target)
        log = {"on_step": False, "on_epoch": True, "batch_size": len(target)}
        self.log(f"{stage}_loss", loss, prog_bar=True, sync_dist=stage != "train", **log)
        for name in self.task.metrics if stage != "train" else ():
            metric: Any = self.metrics[f"{stage}_{name}"]
            metric.update(prediction.detach(), target)
            self.log(f"{stage}_{name}", metric, prog_bar=stage == "validation", **log)
        return loss

    def training_step(self, batch: Any) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any) -> None:
        self._step(batch, "validation")

    def test_step(self, batch: Any) -> None:
        self._step(batch, "test")

    def configure_optimizers(self) -> Any:
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        optimizer = self.optimizer(self.model.parameters(), lr=rate, weight_decay=decay)
        if self.schedule is None:
            return optimizer
        schedule, steps = self.schedule, self.trainer.estimated_stepping_batches
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step / steps))
        return [optimizer], [{"scheduler": factor, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["settings"] = asdict(self.settings)


def _trainer(settings: Settings, folder: Path, watchers: list[Any]) -> Any:
    checkpoint = ModelCheckpoint(
        dirpath=folder,
        filename="resume",
        every_n_epochs=settings.checkpoint_every,
        save_on_train_epoch_end=True,  # after validation, so that the epoch is in it whole
        enable_version_counter=False,
    )
    return lightning.Trainer(
        max_epochs=settings.max_epochs,
        precision=settings.precision,
        accelerator=settings.accelerator,
        devices=settings.devices,
        gradient_clip_val=settings.gradient_clip,
        callbacks=[*watchers, checkpoint],
        default_root_dir=folder,
        enable_progress_bar=settings.progress,
        enable_model_summary=False,
        logger=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        inference_mode=False,  # structures remembered in validation serve training too
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its tips, and without three warnings that do not apply here."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Loaders over data in memory gain nothing from worker processes.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            # The folder of a run that is resumed holds its checkpoint: that is what it is for.
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
            # Lightning 2.6 calls a constructor that torch 2.13 deprecates.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _check_resumable(path: Path, module: _Module) -> None:
    checkpoint = read(path)
    if not {"state_dict", "settings"} <= checkpoint.keys():
        raise ValueError(f"{path} is no checkpoint to resume from: delete it to start anew")
    check_same_keys(checkpoint["state_dict"], module.state_dict(), path)
    # Showing progress does not change what was trained so far, nor does training longer, unless
    # the learning rate has followed a schedule to the end.
    free = {"progress", "checkpoint_every"} | ({"max_epochs"} if module.schedule is None else set())
    now = asdict(module.settings)
    differ = {
        name: value
        for name, value in checkpoint["settings"].items()
        if name not in free and value != now[name]
    }
    if differ:
        raise ValueError(f"{path} was trained with {differ}: delete it, or use another folder")
