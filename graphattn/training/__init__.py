"""The one training harness of all recipes, on Lightning."""

try:
    import lightning  # noqa: F401  (asked for here, used throughout)
    import torchmetrics  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"graphattn.training needs the package {error.name}: pip install 'graphattn[train]'"
    ) from error

from graphattn.training.checkpoints import load_weights
from graphattn.training.fit import Result, Settings, fit, one_cycle
from graphattn.training.measures import MeasureOfAll
from graphattn.training.records import (
    add_run_arguments,
    deciding,
    mean_and_error,
    read_record,
    recorded,
    recorded_seed,
    seeds_of,
)
from graphattn.training.selection import AverageOfLast, BestValue, LossAndAccuracy, Selection
from graphattn.training.tasks import (
    Stage,
    Task,
    WholeGraph,
    graph_regression,
    node_classification,
)

__all__ = [
    "AverageOfLast",
    "BestValue",
    "LossAndAccuracy",
    "MeasureOfAll",
    "Result",
    "Selection",
    "Settings",
    "Stage",
    "Task",
    "WholeGraph",
    "add_run_arguments",
    "deciding",
    "fit",
    "graph_regression",
    "load_weights",
    "mean_and_error",
    "node_classification",
    "one_cycle",
    "read_record",
    "recorded",
    "recorded_seed",
    "seeds_of",
]
