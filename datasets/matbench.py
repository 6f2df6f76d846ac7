"""Matbench: properties of crystals in five official folds."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphattn.datasets.crystal_files import crystal_from_pymatgen
from graphattn.datasets.crystal_sets import CrystalSet, collect, kept
from graphattn.datasets.crystals import Crystal, Quantity
from graphattn.datasets.files import find

ADDRESS = "https://ml.materialsproject.org/projects"
NUM_FOLDS = 5
SEED = 18012019


class _Task(NamedTuple):
    target: str  # column
    unit: str
    num_rows: int
    sha256: str


MATBENCH: dict[str, _Task] = {
    "dielectric": _Task(
        "n", "1", 4764, "83befa09bc2ec2f4b6143afc413157827a90e5e2e42c1eb507ccfa01bf26a1d6"
    ),
    "jdft2d": _Task(
        "exfoliation_en",
        "meV/atom",
        636,
        "26057dc4524e193e32abffb296ce819b58b6e11d1278cae329a2f97817a4eddf",
    ),
    "log_gvrh": _Task(
        "log10(G_VRH)",
        "log10(GPa)",
        10987,
        "098af941f4c663270f1fe21abf20ffad6fb85ecbfcba5786ceac03983ac29da7",
    ),
    "log_kvrh": _Task(
        "log10(K_VRH)",
        "log10(GPa)",
        10987,
        "44b113ddb7e23aa18731a62c74afa7e5aa654199e0db5f951c8248a00955c9cd",
    ),
    "mp_e_form": _Task(
        "e_form",
        "eV/atom",
        132752,
        "dedcb1d4ba2e3e50dbdd45ba5bc647a00e9c2bcf8f8bf556dc8e92caa39eb21f",
    ),
    "mp_gap": _Task(
        "gap pbe", "eV", 106113, "58b65746bd88329986ed66031a2ac1369c7c522f7bc9f9081528e07097c2c057"
    ),
    "perovskites": _Task(
        "e_form",
        "eV/cell",
        18928,
        "4641e2417f8ec8b50096d2230864468dfa08278dc9d257c327f65d0305278483",
    ),
    "phonons": _Task(
        "last phdos peak",
        "1/cm",
        1265,
        "4db551f21ec5f577e6202725f10e34dfc509aa7df3a6bdaac497da7f6dbbb9b3",
    ),
}
"""The tasks of `matbench`: target, unit, rows and checksum of the file of each."""


@dataclass(frozen=True, eq=False)
class MatbenchTask(CrystalSet):
    """The crystals of a task, what is asked of them, and the official folds.

    Attributes:
        target: The property to predict, the one target of every crystal; judged by the mean
            absolute error, averaged over the folds.
        unit: Of the target.
        folds: The crystals to test on in each of the five folds: places in ``crystals``, rising.
    """

    target: str
    unit: str
    folds: list[Tensor]

    def split(self, fold: int) -> tuple[CrystalSet, CrystalSet]:
        """What may be seen in a fold, fitting and choosing alike, and what is tested on.

        Args:
            fold: From 0 to 4.

        Raises:
            ValueError: If there is no such fold.
        """
        if not 0 <= fold < len(self.folds):
            raise ValueError(f"fold must be from 0 to {len(self.folds) - 1}, got {fold}")
        test = self.folds[fold]
        is_seen = torch.ones(len(self), dtype=torch.bool)
        is_seen[test] = False
        return self.subset(is_seen.nonzero().flatten()), self.subset(test)


def matbench(name: str) -> MatbenchTask:
    """One regression task of Matbench v0.1 on structures, with its official folds.

    =========== ======= =================================================== ==========
    name        rows    target                                              unit
    =========== ======= =================================================== ==========
    jdft2d      636     exfoliation energy of layers                        meV/atom
    phonons     1,265   highest peak of the phonon density of states        1/cm
    dielectric  4,764   refractive index                                    1
    log_gvrh    10,987  logarithm of the shear modulus                      log10(GPa)
    log_kvrh    10,987  logarithm of the bulk modulus                       log10(GPa)
    perovskites 18,928  heat of formation of the cell                       eV/cell
    mp_gap      106,113 band gap                                            eV
    mp_e_form   132,752 formation energy                                    eV/atom
    =========== ======= =================================================== ==========

    The file is ``crystal_NAME/matbench_NAME.json.gz`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. The crystals are kept in the cache.

    Args:
        name: One of the above; ``"matbench_"`` may stand before it.

    Returns:
        The crystals, named as in Matbench's records, such as ``mb-phonons-0001``.

    Raises:
        ValueError: If the name is not known, or the file has other columns or another number of
            rows.
        FileNotFoundError: If the file is neither there nor to be had; says what to put where.

    Source: Dunn et al., "Benchmarking materials property prediction methods: the Matbench test set
        and Automatminer reference algorithm", npj Computational Materials 2020, MIT licence; data
        of the Materials Project and others, CC BY 4.0. The folds are those of the records of its
        repository, row by row for phonons.
    """
    name = name.removeprefix("matbench_")
    if name not in MATBENCH:
        raise ValueError(f"name must be one of {sorted(MATBENCH)}, got {name!r}")
    task, file = MATBENCH[name], f"matbench_{name}.json.gz"
    path = find(f"crystal_{name}/{file}", f"{ADDRESS}/{file}", task.sha256)
    found = kept(f"matbench_{name}", [path], lambda: collect(_records(name, path)))
    folds = [found.places(rows) for rows in matbench_folds(task.num_rows)]
    return MatbenchTask(found.crystals, found.rows, found.unread, task.target, task.unit, folds)


def _records(name: str, path: Path) -> Iterator[tuple[str, Callable[[], Crystal]]]:
    task = MATBENCH[name]
    with gzip.open(path) as file:
        table: dict[str, Any] = json.load(file)
    if table["columns"] != ["structure", task.target] or len(table["data"]) != task.num_rows:
        raise ValueError(
            f"{path} must have columns structure and {task.target} and {task.num_rows} rows, got "
            f"{table['columns']} and {len(table['data'])}"
        )
    width = len(str(task.num_rows))
    for row, (structure, value) in enumerate(table["data"], start=1):
        record = f"mb-{name.replace('_', '-')}-{row:0{width}}"
        targets = {task.target: Quantity(float(value), task.unit)}
        yield record, partial(crystal_from_pymatgen, structure, name=record, targets=targets)


def matbench_folds(num_rows: int) -> list[Tensor]:
    """The rows that Matbench tests on in each fold of a regression task.

    Args:
        num_rows: Of the task's table; at least five.

    Returns:
        Five rising int64 vectors that hold every row once: those of scikit-learn's ``KFold(5,
        shuffle=True, random_state=18012019)``.

    Raises:
        ValueError: If there are fewer rows than folds.
    """
    if num_rows < NUM_FOLDS:
        raise ValueError(f"num_rows must be at least {NUM_FOLDS}, got {num_rows}")
    order = np.random.RandomState(SEED).permutation(num_rows)
    return [torch.from_numpy(np.sort(part)) for part in np.array_split(order, NUM_FOLDS)]
