"""The code in README and documentation runs and says what the pages say; the site builds."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphattn
import graphattn.nn
import graphattn.normalizers
import graphattn.testing
from graphattn.datasets.files import data_folder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A block of text right after one of code is what the code prints, or the error that it raises.
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)

# Packages and data that a page needs, beyond those of the library itself.
NEEDS = {
    "crystals_tutorial.md": (("ase", "lightning", "matplotlib"), "crystal_phonons"),
    "molecules_tutorial.md": (("rdkit", "ogb", "lightning", "matplotlib"), "ogb/ogbg_molesol"),
}


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


def said_by(code: str, names: dict[str, object]) -> Iterator[str]:
    """What a block prints and, if it fails, the error as Python shows it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "score.py", "exec"), names)
    except Exception as error:
        yield f"{type(error).__name__}: {error}"
    yield printed.getvalue()


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.name)
def test_a_page_is_a_script_that_runs(page: Path) -> None:
    packages, path = NEEDS.get(page.name, ((), "."))
    for package in packages:
        pytest.importorskip(package)
    folder = data_folder()
    if folder is None or not (folder / path).exists():
        pytest.skip(f"{path} is not in the folder that GRAPHATTN_DATA names")
    names: dict[str, object] = {}
    for code, expected in blocks(page):
        said = " ".join(said_by(code, names))
        # Pages wrap long lines.
        assert said.split() == expected.split(), f"{code}\nsays\n{said}"


def test_the_pages_for_users_have_code() -> None:
    numbers = {page.name: len(blocks(page)) for page in PAGES}
    assert numbers["README.md"] == 2
    tutorials = (
        *("quickstart.md", "write_your_own.md", "attention_on_sets.md"),
        *("molecules_tutorial.md", "crystals_tutorial.md"),
    )
    assert min(numbers[name] for name in tutorials) >= 5


def test_every_public_name_has_a_place_in_the_reference() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = {name.split(".")[-1] for name in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}
    modules = (graphattn, graphattn.nn, graphattn.normalizers)
    public = {name for module in modules for name in module.__all__}
    assert public - shown == {"__version__", "is_fused"}


def test_the_table_of_normalizers_has_all_of_them() -> None:
    text = (ROOT / "docs" / "normalizers.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)", text, re.MULTILINE))
    kinds = {"Normalizer", "FusedNormalizer", "is_fused"}
    assert rows == set(graphattn.normalizers.__all__) - kinds


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python", "latex2mathml"):
        pytest.importorskip(package, reason=f"{package} is not installed: graphattn[docs] has it")
    # -P: the folders kernels/ and datasets/ must not hide installed packages.
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir"]
    built = subprocess.run(
        [*command, str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    reference = (tmp_path / "site" / "api" / "normalizers.html").read_text()
    assert "<math" in reference
    assert ".. math::" not in reference
