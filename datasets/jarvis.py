"""JARVIS-DFT and the Materials Project as MEGNet has it, in the splits of crystal transformers."""

import json
import math
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from graphattn.datasets.crystal_files import crystal_from_dictionary, crystal_from_poscar
from graphattn.datasets.crystal_sets import CrystalSet, CrystalSplit, collect, kept
from graphattn.datasets.crystals import Crystal, Quantity
from graphattn.datasets.files import find

FIGSHARE = "https://ndownloader.figshare.com/files"
LEADERBOARD = (
    "https://raw.githubusercontent.com/usnistgov/jarvis_leaderboard/"
    "57afc55f94c8a6f4562f73a3173968cd4b2f83b1/jarvis_leaderboard/benchmarks/AI"
)
SEED = 123
JARVIS_UNITS = {
    "formation_energy_peratom": "eV/atom",
    "optb88vdw_total_energy": "eV/atom",
    "optb88vdw_bandgap": "eV",
    "mbj_bandgap": "eV",
    "ehull": "eV/atom",
}
"""The properties of `jarvis_dft` and their units."""

MEGNET_UNITS = {"e_form": "eV/atom", "gap pbe": "eV"}
"""The properties of `materials_project` and their units."""

MEGNET_PARTS = (5000, 4239)  # to validate and to test


def jarvis_dft(target: str) -> CrystalSplit:
    """Crystals of JARVIS-DFT of August 2021 with one property, in the split of Matformer.

    ========================= ===================== =======
    target                    train/validation/test unit
    ========================= ===================== =======
    formation_energy_peratom  44,578/5,572/5,572    eV/atom
    optb88vdw_total_energy    44,578/5,572/5,572    eV/atom
    optb88vdw_bandgap         44,578/5,572/5,572    eV
    mbj_bandgap               14,537/1,817/1,817    eV
    ehull                     44,296/5,537/5,537    eV/atom
    ========================= ===================== =======

    The file is ``crystal_jarvis/jdft_3d-8-18-2021.json.zip`` of the data folder, or is downloaded
    (its checksum is not known to us); see ``graphattn.datasets.files``. The crystals are kept in
    the cache.

    Args:
        target: One of the above.

    Returns:
        Crystals named as ``JVASP-41679``: those whose property is known, shuffled with a fixed
        seed, the last tenths to test and validate on.

    Raises:
        ValueError: If the property is not known, or the file is no archive.
        FileNotFoundError: If the file is neither there nor to be had; says what to put where.

    Source: Choudhary et al., "The joint automated repository for various integrated simulations
        (JARVIS) for data-driven materials design", npj Computational Materials 2020 (public domain
        in the US); split as in the code of Yan et al., "Periodic Graph Transformers for Crystal
        Material Property Prediction", NeurIPS 2022, and of Taniai et al., "Crystalformer", ICLR
        2024; that code drops one crystal of the training part, which their papers count.
    """
    file = "crystal_jarvis/jdft_3d-8-18-2021.json.zip"
    found = _released(file, f"{FIGSHARE}/29204826", target, JARVIS_UNITS, "jid")
    tenth = int(0.1 * _num_rows(found))
    return _shuffled(found, tenth, tenth)


def materials_project(target: str) -> CrystalSplit:
    """Crystals of the Materials Project with one property, in the split of MEGNet.

    69,239 crystals: 60,000 to train, 5,000 to validate, 4,239 to test. Targets are ``e_form``, the
    formation energy in eV/atom, and ``gap pbe``, the band gap in eV. Their bulk and shear moduli
    are published as pickles only, which we do not read.

    The file is ``crystal_megnet/megnet.json.zip`` of the data folder, or is downloaded (its
    checksum is not known to us); see ``graphattn.datasets.files``. The crystals are kept in the
    cache.

    Args:
        target: ``"e_form"`` or ``"gap pbe"``.

    Returns:
        The crystals, named as ``mp-1234``.

    Raises:
        ValueError: If the property is not known, or the file is no archive.
        FileNotFoundError: If the file is neither there nor to be had; says what to put where.

    Source: Chen et al., "Graph Networks as a Universal Machine Learning Framework for Molecules and
        Crystals", Chemistry of Materials 2019; file of JARVIS, data of the Materials Project (CC BY
        4.0), order of the split as for ``jarvis_dft``.
    """
    file = "crystal_megnet/megnet.json.zip"
    found = _released(file, f"{FIGSHARE}/26724977", target, MEGNET_UNITS, "id")
    return _shuffled(found, *MEGNET_PARTS)


def jarvis_superconductors() -> CrystalSplit:
    """Metals of JARVIS-DFT with their critical temperature, in the split of its leaderboard.

    556 crystals to train, 30 to validate, 30 to test; so few that an error on them is noisy. The
    target is ``Tc_supercon`` in K.

    Files are ``crystal_jarvis/dft_3d_Tc_supercon.json.zip`` and
    ``crystal_jarvis/dft_3d_Tc_supercon_targets.json.zip`` of the data folder, or are downloaded;
    see ``graphattn.datasets.files``. The crystals are kept in the cache.

    Returns:
        The crystals, named as ``JVASP-41679``.

    Raises:
        FileNotFoundError: If a file is neither there nor to be had; says what to put where.
        ImportError: If ASE is not installed.

    Source: Choudhary and Garrity, "Designing high-Tc superconductors with BCS-inspired screening,
        density functional theory, and deep-learning", npj Computational Materials 2022; repository
        usnistgov/jarvis_leaderboard (public domain in the US).
    """
    folder, file = "crystal_jarvis", "dft_3d_Tc_supercon"
    structures = find(
        f"{folder}/{file}.json.zip",
        f"{LEADERBOARD}/AtomGen/{file}.json.zip",
        "dcbe3bfedf21a66dd8b4c02589659f1ba6e25bf0fd1e805e358f02a4c2c6b615",
    )
    targets = find(
        f"{folder}/{file}_targets.json.zip",
        f"{LEADERBOARD}/SinglePropertyPrediction/{file}.json.zip",
        "e34fe109057b9dd7b4ae50b18fdec70cc156b6a994a02ec6f57f5c365f8a06dc",
    )
    parts: dict[str, dict[str, float]] = read_json(targets)
    poscars = {name: text for part in read_json(structures).values() for name, text in part.items()}

    def records() -> Iterator[tuple[str, Callable[[], Crystal]]]:
        for part in ("train", "val", "test"):
            for name, value in parts[part].items():
                text = poscars[name].replace("\\n", "\n")  # as the file has them
                known = {"Tc_supercon": Quantity(float(value), "K")}
                yield name, partial(crystal_from_poscar, text, name=name, targets=known)

    found = kept("jarvis-superconductors", [structures, targets], lambda: collect(records()))
    sizes = [len(parts[part]) for part in ("train", "val", "test")]
    rows = torch.arange(sum(sizes)).split(sizes)
    return CrystalSplit(*(found.subset(found.places(part)) for part in rows))


def read_json(path: Path) -> Any:
    """Reads the one JSON file of an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith(".json"))
            return json.loads(archive.read(member))
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} must be a zip archive ({error}): delete it, try again") from error


def _released(file: str, url: str, target: str, units: Mapping[str, str], name: str) -> CrystalSet:
    """The entries of a release of JARVIS that have a property."""
    if target not in units:
        raise ValueError(f"target must be one of {sorted(units)}, got {target!r}")
    path = find(file, url, None)

    def records() -> Iterator[tuple[str, Callable[[], Crystal]]]:
        for entry in read_json(path):
            value = entry[target]
            # Unknown values are written as "na".
            if isinstance(value, int | float) and math.isfinite(value):
                known = {target: Quantity(float(value), units[target])}
                record = str(entry[name])
                yield (
                    record,
                    partial(crystal_from_dictionary, entry["atoms"], name=record, targets=known),
                )

    return kept(
        f"{path.name.removesuffix('.json.zip')}-{target.replace(' ', '-')}",
        [path],
        lambda: collect(records()),
    )


def _num_rows(found: CrystalSet) -> int:
    return len(found) + len(found.unread)


def _shuffled(found: CrystalSet, num_validation: int, num_test: int) -> CrystalSplit:
    rows = list(range(_num_rows(found)))
    random.Random(SEED).shuffle(rows)
    num_train = len(rows) - num_validation - num_test
    if num_train < 1:
        raise ValueError(f"{len(rows)} crystals are too few: is the file the one of the release?")
    borders = (0, num_train, num_train + num_validation, len(rows))
    parts = (rows[start:end] for start, end in pairwise(borders))
    return CrystalSplit(*(found.subset(found.places(part)) for part in parts))
