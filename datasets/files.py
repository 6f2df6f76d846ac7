"""Where data files come from: a tree of one's own, the cache, or a checked download."""

import hashlib
import os
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import IO

TIMEOUT = 60.0  # seconds without a byte, after which a download has failed


def data_folder() -> Path | None:
    """The tree of raw data that is looked at first; it is only ever read.

    Returns:
        ``$GRAPHATTN_DATA`` if set; else, in a checkout of this project, ``../shared/data`` beside
        it if there; else ``None``.

    Raises:
        FileNotFoundError: If ``$GRAPHATTN_DATA`` is set and is no folder.
    """
    given = os.environ.get("GRAPHATTN_DATA")
    if given:
        if not Path(given).is_dir():
            raise FileNotFoundError(f"GRAPHATTN_DATA must be a folder, got {given!r}")
        return Path(given)
    checkout = Path(__file__).resolve().parents[1]
    beside = checkout.parent / "shared" / "data"
    return beside if (checkout / "pyproject.toml").exists() and beside.is_dir() else None


def cache_folder() -> Path:
    """The folder that downloads are kept in; it need not exist yet.

    Returns:
        ``$GRAPHATTN_CACHE`` if set, else ``graphattn`` in the user's cache folder as the platform
        has it.
    """
    given = os.environ.get("GRAPHATTN_CACHE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "graphattn"


def find(name: str, url: str, sha256: str | None) -> Path:
    """Find a data file, or download it.

    Looked for in ``data_folder()``, then in ``cache_folder()``, then under the address. What is
    downloaded goes to the cache under a temporary name and is renamed once it is whole and
    checked, so that many processes may ask at once.

    Args:
        name: Path of the file inside either folder, with forward slashes.
        url: Address of the file.
        sha256: Checksum of the file, in hexadecimal; ``None`` if none is known, in which case
            nothing is checked. Files in ``data_folder()`` are the user's own and not checked.

    Returns:
        Path of the file, to be read only.

    Raises:
        FileNotFoundError: If it is in neither folder and cannot be downloaded; says which file to
            put where.
        ValueError: If the download, or the file in the cache, has another checksum. A download is
            not kept then.
    """
    tree, cached = data_folder(), cache_folder() / name
    if tree is not None and (tree / name).is_file():
        return tree / name
    if not cached.is_file():
        _download(url, cached, sha256)
    elif sha256 is not None and (found := _checksum(cached)) != sha256:
        raise ValueError(f"{cached} must have SHA-256 {sha256}, got {found}: delete it, try again")
    return cached


def _download(url: str, path: Path, sha256: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _copy(url, file, path)
        found = _checksum(Path(part))
        if sha256 is not None and found != sha256:
            raise ValueError(f"{url} must have SHA-256 {sha256}, got {found}; nothing was kept")
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def _copy(url: str, file: IO[bytes], path: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            shutil.copyfileobj(response, file)
            expected = int(response.headers.get("Content-Length", file.tell()))
            if file.tell() != expected:  # urllib takes a connection cut off for the end
                raise ConnectionError(f"got {file.tell()} bytes of {expected}")
    except OSError as error:  # no network, no such host, no such file, connection cut off
        raise FileNotFoundError(
            f"{path.name} could not be downloaded from {url} ({error}); without a network, put it "
            f"at {path}, or into a folder laid out alike that GRAPHATTN_DATA names"
        ) from error


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
