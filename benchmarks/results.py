"""Reads the records of runs, and compares contestants by medians."""

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Record:
    """One group of cases as it was measured.

    Attributes:
        about: Command, commit, date, hardware, versions and seeds.
        results: One mapping for each contestant, as the harness returns them.
    """

    about: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...]

    def cases(self) -> list[str]:
        """Names of the cases, in order."""
        return list(dict.fromkeys(result["case"]["name"] for result in self.results))

    def layers(self, case: str) -> list[str]:
        """Names of the layers timed on a case, in order."""
        own = (result for result in self.results if result["case"]["name"] == case)
        return list(dict.fromkeys(result["layer"] for result in own))

    def peers(self) -> list[str]:
        """Contestants, in order."""
        return list(dict.fromkeys(result["peer"] for result in self.results))

    def find(self, case: str, layer: str, peer: str) -> Mapping[str, Any] | None:
        """The result of one contestant, if there is one."""
        for result in self.results:
            if (result["case"]["name"], result["layer"], result["peer"]) == (case, layer, peer):
                return result
        return None

    def median(self, case: str, layer: str, peer: str, what: str) -> float | None:
        """Median of a contestant's samples (seconds), or its ``peak`` (bytes)."""
        found = self.find(case, layer, peer)
        if found is None or found.get(what) is None:
            return None
        if what == "peak":
            return float(found["peak"])
        return statistics.median(found[what])

    def ratio(self, case: str, layer: str, peers: tuple[str, str], what: str) -> float | None:
        """The first contestant's median over the second's; None, too, where that is nothing."""
        first, second = (self.median(case, layer, peer, what) for peer in peers)
        return None if first is None or not second else first / second

    def best_peer(self, case: str, layer: str, what: str) -> str | None:
        """The fastest of the others, this library's own contestants aside."""
        medians = {
            peer: seconds
            for peer in self.peers()
            if peer.startswith(("pyg", "dgl"))
            and (seconds := self.median(case, layer, peer, what)) is not None
        }
        return min(medians, key=lambda peer: medians[peer]) if medians else None

    def growth(
        self, prefix: str, peer: str, what: str
    ) -> Iterator[tuple[int, float, float | None]]:
        """Edges, seconds, and their ratio to the case before, of the cases named ``prefix E``."""
        before: float | None = None
        for name in self.cases():
            if name.startswith(f"{prefix} "):
                seconds = self.median(name, self.layers(name)[0], peer, what)
                if seconds is not None:
                    ratio = None if before is None else seconds / before
                    yield int(name.split()[-1]), seconds, ratio
                before = seconds


def read_records(folder: Path) -> dict[str, Record]:
    """The records in a folder, by group; a group that was not measured is missing."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = Record(about, tuple(about.pop("results")))
    return found
