"""The molecules of the Open Graph Benchmark, with its official splits and measures."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.ogb_files import read_ogb
from graphattn.datasets.smiles import UnreadRow


class _Ogb(NamedTuple):
    archive: str
    metric: str


OGB: dict[str, _Ogb] = {
    "molbace": _Ogb("bace", "rocauc"),
    "molbbbp": _Ogb("bbbp", "rocauc"),
    "molclintox": _Ogb("clintox", "rocauc"),
    "molesol": _Ogb("esol", "rmse"),
    "molfreesolv": _Ogb("freesolv", "rmse"),
    "molhiv": _Ogb("hiv", "rocauc"),
    "mollipo": _Ogb("lipophilicity", "rmse"),
    "molmuv": _Ogb("muv", "ap"),
    "molpcba": _Ogb("pcba", "ap"),
    "molsider": _Ogb("sider", "rocauc"),
    "moltox21": _Ogb("tox21", "rocauc"),
    "moltoxcast": _Ogb("toxcast", "rocauc"),
}
"""The data sets of `ogb_molecules`: where each is, and what is measured on it."""


@dataclass(frozen=True)
class MoleculeBenchmark:
    """Molecules in three fixed parts, the measure they are judged by, and the rows left out.

    Attributes:
        train: Molecules to fit.
        validation: Molecules to choose by.
        test: Molecules to report on.
        metric: ``"rmse"``, ``"rocauc"`` or ``"ap"``, all means over properties.
        evaluator: Name by which ogb knows the official evaluator, such as ``"ogbg-molesol"``.
        unread: Rows of the table that gave no molecule; all others are kept.
    """

    train: list[Data]
    validation: list[Data]
    test: list[Data]
    metric: str
    evaluator: str
    unread: list[UnreadRow]

    @property
    def num_properties(self) -> int:
        """How many properties a molecule has, ``T``."""
        num_properties: int = self.train[0].y.shape[1]
        return num_properties

    @property
    def is_regression(self) -> bool:
        """Whether properties are numbers to come close to; else 0 or 1."""
        return self.metric == "rmse"

    def evaluate(self, y_true: Tensor, y_pred: Tensor) -> float:
        """The official measure: the lower the better for ``"rmse"``, else the higher.

        Args:
            y_true: Properties, ``(G, T)``; what is NaN is not judged.
            y_pred: Predictions, ``(G, T)``; for classes any score that rises with their chance.

        Raises:
            ValueError: If the shapes are others.
            RuntimeError: If no property has both classes; ``"rocauc"`` and ``"ap"`` then mean
                nothing.
            ImportError: If ogb is not installed.
        """
        if y_true.shape != y_pred.shape or y_true.shape[1:] != (self.num_properties,):
            raise ValueError(
                f"y_true and y_pred must be (G, {self.num_properties}), "
                f"got {tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        try:
            from ogb.graphproppred import Evaluator
        except ImportError as error:
            raise ImportError(
                "the official measures need ogb: pip install graphattn[molecules]"
            ) from error
        judged = {"y_true": y_true.float(), "y_pred": y_pred.float()}
        return float(Evaluator(self.evaluator).eval(judged)[self.metric])


def ogb_molecules(name: str) -> MoleculeBenchmark:
    """One data set of molecules of the Open Graph Benchmark with its official split.

    =========== ======== =================== =========== ==========================================
    name        graphs   train/valid./test   measure     property
    =========== ======== =================== =========== ==========================================
    molesol     1,128    902/113/113         RMSE        solubility in water, log10 of mol/L
    molfreesolv 642      513/64/65           RMSE        free energy of hydration, kcal/mol
    mollipo     4,200    3,360/420/420       RMSE        octanol-water distribution at pH 7.4, log10
    molbbbp     2,039    1,631/204/204       ROC-AUC     passes from blood to brain or not
    molhiv      41,127   32,901/4,113/4,113  ROC-AUC     inhibits HIV or not
    =========== ======== =================== =========== ==========================================

    ``molbace``, ``molclintox``, ``molmuv``, ``molpcba``, ``molsider``, ``moltox21`` and
    ``moltoxcast`` are read in the same way. Where the files are looked for: see
    ``graphattn.datasets.ogb_files``.

    Args:
        name: One of the above; ``"ogbg-"`` may stand before it.

    Returns:
        The molecules; see ``graphattn.datasets.smiles`` for ``x``, ``edge_index``, ``edge_attr``
        and ``smiles``. ``y`` is ``(1, T)`` float32, NaN where nothing was measured.

    Raises:
        ValueError: If the name is not known, or the files do not fit together.
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.
        ImportError: If pandas, on which ogb depends, is not installed.

    Source: Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs", NeurIPS
        2020, MIT licence; the data are of MoleculeNet.
    """
    short = name.removeprefix("ogbg-")
    if short not in OGB:
        raise ValueError(f"name must be one of {sorted(OGB)}, got {name!r}")
    graphs, split = read_ogb(short, OGB[short].archive)
    train, validation, test = (
        [graphs[row] for row in split[part].tolist()] for part in ("train", "valid", "test")
    )
    return MoleculeBenchmark(
        train,
        validation,
        test,
        metric=OGB[short].metric,
        evaluator=f"ogbg-{short}",
        unread=[],
    )
