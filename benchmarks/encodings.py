"""How long the encodings of a data set of molecules take: of molhiv's 41,127 by default.

    python benchmarks/encodings.py

Every encoding in turn, in several rounds; medians. Reading the molecules is not counted.
"""

import argparse
import statistics
import time

from graphattn.datasets.molecules import ogb_molecules
from graphattn.encodings import (
    AddLaplacianEigenvectorPE,
    AddRandomWalkPE,
    AddShortestPathDistances,
    add_encodings,
)
from graphattn.training.records import surroundings

ENCODINGS = {
    "eight eigenvectors of the Laplacian": AddLaplacianEigenvectorPE(8),
    "sixteen steps of random walks": AddRandomWalkPE(16),
    "shortest paths between all pairs": AddShortestPathDistances(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="molhiv")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    data = ogb_molecules(given.dataset)
    graphs = [*data.train, *data.validation, *data.test]
    seconds: dict[str, list[float]] = {name: [] for name in ENCODINGS}
    for _ in range(given.rounds):
        for name, encoding in ENCODINGS.items():
            start = time.perf_counter()
            add_encodings(graphs, [encoding])
            seconds[name].append(time.perf_counter() - start)
    print(surroundings())
    for name, times in seconds.items():
        print(f"{name:36} of {len(graphs):,} graphs {statistics.median(times):6.1f} s")


if __name__ == "__main__":
    main()
