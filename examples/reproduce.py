"""Runs recipes and writes their numbers beside the published ones into docs/results.md.

Finished runs are not run again, so this can be stopped and started at will. The page is made from
the files of the runs alone; `--render-only` makes it anew without running anything:

    python examples/reproduce.py all --seeds 10
"""

import argparse
import runpy
import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphattn.training import mean_and_error, read_record

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One line of a table: a recipe with its arguments, and what is published for it."""

    name: str
    arguments: str
    folder: str
    published: str


@dataclass(frozen=True)
class Number:
    """What a record holds, by its path in it, and how the page shows it."""

    title: str
    path: str
    scale: float = 1.0
    digits: int = 2

    def of(self, record: Mapping[str, Any]) -> float | None:
        """The number, or nothing if the run has none by this name."""
        value: Any = record
        for name in self.path.split("."):
            if name not in value:
                return None
            value = value[name]
        return self.scale * float(value)


@dataclass(frozen=True)
class Table:
    """Results of one recipe: a script beside this one, and where the published numbers are from."""

    title: str
    script: str
    numbers: tuple[Number, ...]  # the first is the published one
    source: str
    rows: tuple[Row, ...]
    notes: str = ""  # what the numbers leave open


def read_tables(path: Path) -> dict[str, Table]:
    """The tables of the page, in their order, by the names of their recipes."""
    return {
        name: Table(
            **{
                **table,
                "numbers": tuple(Number(**number) for number in table["numbers"]),
                "rows": tuple(Row(**row) for row in table["rows"]),
            }
        )
        for name, table in tomllib.loads(path.read_text()).items()
    }


TABLES = read_tables(HERE / "published.toml")


def run(table: Table, seeds: int, output: Path) -> None:
    recipe = runpy.run_path(str(HERE / table.script))["main"]
    for row in table.rows:
        recipe([*row.arguments.split(), "--seeds", str(seeds), "--output", str(output)])


def render(tables: Iterable[Table], output: Path) -> str:
    """The page as Markdown; a recipe without finished runs is said to be not run."""
    parts = [
        "# Results",
        "Made by `examples/reproduce.py` from the files of the runs; ours is the mean ± its "
        "standard error over seeds. Whatever is chosen, such as the epoch, is chosen on validation "
        "data; test data is looked at once.",
    ]
    for table in tables:
        parts += [f"## {table.title}", *_table(table, output)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table, output: Path) -> list[str]:
    titles = [f"ours: {number.title}" for number in table.numbers]
    titles += ["published", "seeds", "epochs", "minutes a seed"]
    lines = [f"| | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    records = {row: _records(output / row.folder) for row in table.rows}
    lines += [_line(row, table.numbers, records[row]) for row in table.rows]
    every = [record for found in records.values() for record in found]
    notes = [table.notes] if table.notes and every else []
    return ["\n".join(lines), f"Published: {table.source}", *notes, *_how(table, records)]


def _records(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("seed-*.json"), key=lambda path: int(path.stem.partition("-")[2]))
    return [read_record(path) for path in paths]


def _line(row: Row, numbers: Iterable[Number], records: list[dict[str, Any]]) -> str:
    cells = [row.name, *(_cell(number, records) for number in numbers), row.published]
    cells.append(str(len(records)))
    for name, unit in (("epochs", 1), ("seconds", 60)):
        middle = statistics.median(record[name] for record in records) / unit if records else None
        cells.append("" if middle is None else f"{middle:.0f}" if unit == 1 else f"{middle:.1f}")
    return f"| {' | '.join(cells)} |"


def _cell(number: Number, records: list[dict[str, Any]]) -> str:
    if not records:
        return "not run"
    found = [value for record in records if (value := number.of(record)) is not None]
    if not found:
        return "—"
    mean, error = mean_and_error(found)
    one = f"{mean:.{number.digits}f}"
    return one if len(records) == 1 else f"{one} ± {error:.{number.digits}f}"


def _how(table: Table, records_by_row: dict[Row, list[dict[str, Any]]]) -> list[str]:
    records = [record for found in records_by_row.values() for record in found]
    if not records:
        return []
    seeds = sorted({record["settings"]["seed"] for record in records})
    days = sorted(record["date"][:10] for record in records)
    commits = sorted({record["commit"] or "none" for record in records})
    machines = sorted(
        {f"{r['hardware']['cpu']}, {r['hardware']['threads']} thread(s)" for r in records}
    )
    versions = sorted({f"{k} {v}" for record in records for k, v in record["versions"].items()})
    command = f"python examples/{table.script}"
    calls = [
        " ".join([command, *row.arguments.split(), f"--seeds {len(found)}"])
        for row, found in records_by_row.items()
        if found
    ]
    return [
        f"Seeds {seeds[0]} to {seeds[-1]}; {days[0]} to {days[-1]}; commit {', '.join(commits)}; "
        f"{'; '.join(machines)}; {', '.join(versions)}.",
        "\n".join(["```bash", *calls, "```"]),
    ]


def main(arguments: Sequence[str] | None = None) -> str:
    """Run what is asked for, write the page of all tables, and return it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", choices=[*TABLES, "all"], default="all")
    parser.add_argument("--seeds", type=int, default=10, help="runs per row (default: 10)")
    parser.add_argument("--render-only", action="store_true", help="only write the page")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "results.md")
    given = parser.parse_args(arguments)

    names = TABLES if "all" in given.recipes else given.recipes
    for name in () if given.render_only else names:
        run(TABLES[name], given.seeds, given.output)
    page = render(TABLES.values(), given.output)
    given.page.parent.mkdir(parents=True, exist_ok=True)
    given.page.write_text(page)
    print(page)
    return page


if __name__ == "__main__":
    main()
