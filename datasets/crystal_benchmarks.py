"""Properties of crystals to predict, each with its unit and its official parts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from graphattn.datasets.crystal_sets import CrystalSplit, hashed_fold
from graphattn.datasets.crystal_tables import flla
from graphattn.datasets.crystals import Crystal
from graphattn.datasets.jarvis import jarvis_dft, materials_project
from graphattn.datasets.matbench import matbench


@dataclass(frozen=True)
class CrystalFold:
    """What is fitted, chosen by and reported on.

    Attributes:
        train: Crystals to fit.
        validation: Crystals to choose by.
        test: Crystals to report on.
    """

    train: list[Crystal]
    validation: list[Crystal]
    test: list[Crystal]


@dataclass(frozen=True)
class CrystalBenchmark:
    """A property to predict.

    Attributes:
        target: Its name, the one target of every crystal.
        unit: Of the property.
        folds: Official folds, which are reported together, or the one split there is.
    """

    target: str
    unit: str
    folds: list[CrystalFold]


def _of_matbench(name: str) -> CrystalBenchmark:
    task, folds = matbench(name), []
    for number in range(len(task.folds)):
        seen, test = task.split(number)
        order = torch.randperm(len(seen), generator=torch.Generator().manual_seed(number))
        is_held_out = torch.arange(len(seen)) % 10 == 0
        train, held_out = (seen.subset(order[own]).crystals for own in (~is_held_out, is_held_out))
        folds.append(CrystalFold(train, held_out, test.crystals))
    return CrystalBenchmark(task.target, task.unit, folds)


def _of_flla() -> CrystalBenchmark:
    target = "formation_energy_per_atom"
    parts: dict[int, list[Crystal]] = {8: [], 9: []}
    train: list[Crystal] = []
    for crystal in flla().crystals:
        own = replace(crystal, targets={target: crystal.targets[target]})
        parts.get(hashed_fold(crystal.name), train).append(own)
    fold = CrystalFold(train, parts[8], parts[9])
    return CrystalBenchmark(target, train[0].targets[target].unit, [fold])


def _of_split(load: Callable[[str], CrystalSplit], target: str) -> CrystalBenchmark:
    fold = CrystalFold(*(part.crystals for part in load(target)))
    (name, (_, unit)), *_ = fold.train[0].targets.items()
    return CrystalBenchmark(name, unit, [fold])


_MATBENCH = ("jdft2d", "phonons", "dielectric", "log_gvrh", "log_kvrh", "perovskites")
_JARVIS = {
    "formation_energy": "formation_energy_peratom",
    "total_energy": "optb88vdw_total_energy",
    "opt_gap": "optb88vdw_bandgap",
    "mbj_gap": "mbj_bandgap",
    "ehull": "ehull",
}
_MEGNET = {"formation_energy": "e_form", "band_gap": "gap pbe"}
_LOADERS: dict[str, Callable[[], CrystalBenchmark]] = {
    "flla": _of_flla,
    **{name: partial(_of_matbench, name) for name in (*_MATBENCH, "mp_gap", "mp_e_form")},
    **{f"jarvis_{name}": partial(_of_split, jarvis_dft, own) for name, own in _JARVIS.items()},
    **{f"megnet_{name}": partial(_of_split, materials_project, o) for name, o in _MEGNET.items()},
}
CRYSTAL_BENCHMARKS = tuple(_LOADERS)


def crystal_benchmark(name: str) -> CrystalBenchmark:
    """One property to predict, with its official parts.

    - The tasks of Matbench, ``"phonons"`` and so on: five official folds. Of what may be seen in a
      fold a tenth is held out to choose by, the same in every run.
    - ``"flla"``: formation energies; fold 8 of the names to choose by and 9 to report on, see
      ``hashed_fold``.
    - ``"jarvis_formation_energy"``, ``"jarvis_total_energy"``, ``"jarvis_opt_gap"``,
      ``"jarvis_mbj_gap"``, ``"jarvis_ehull"``: JARVIS-DFT in the split of Matformer.
    - ``"megnet_formation_energy"``, ``"megnet_band_gap"``: the Materials Project in the split of
      MEGNet.

    Args:
        name: One of ``CRYSTAL_BENCHMARKS``.

    Raises:
        ValueError: If the name is not known, or a file is not what it should be.
        FileNotFoundError: If a file is neither there nor to be had; says what to put where.
    """
    if name not in _LOADERS:
        raise ValueError(f"name must be one of {', '.join(CRYSTAL_BENCHMARKS)}, got {name!r}")
    return _LOADERS[name]()
