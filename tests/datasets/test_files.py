"""Finding data files: the tree first, then the cache, then a checked download."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphattn.datasets.files import cache_folder, data_folder, find

CONTENT = b"ten words of data that are short and to the point\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "shelf/raw/file.txt"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one good file and one that is cut off; counts what it is asked for."""

    asked: tuple[str, ...] = ()

    def do_GET(self) -> None:
        Handler.asked += (self.path,)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 10 if self.path == "/cut" else None])

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def address() -> Iterator[str]:
    Handler.asked = ()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    tree, cache = tmp_path / "tree", tmp_path / "cache"
    (tree / "shelf" / "raw").mkdir(parents=True)
    monkeypatch.setenv("GRAPHATTN_DATA", str(tree))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(cache))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tree, cache


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_download_is_kept_in_the_cache_and_asked_for_once(
    address: str, folders: tuple[Path, Path]
) -> None:
    tree, cache = folders
    for _ in range(2):
        path = find(NAME, f"{address}/good", SHA256)
        assert path == cache / NAME
        assert path.read_bytes() == CONTENT
    assert Handler.asked == ("/good",)
    assert files(cache) == [path]
    assert files(tree) == []


def test_the_tree_comes_first_and_is_not_checked(address: str, folders: tuple[Path, Path]) -> None:
    find(NAME, f"{address}/good", SHA256)
    own = folders[0] / NAME
    own.write_text("mine")
    assert find(NAME, f"{address}/good", SHA256) == own
    assert Handler.asked == ("/good",)


def test_a_download_with_another_checksum_is_not_kept(
    address: str, folders: tuple[Path, Path]
) -> None:
    with pytest.raises(ValueError, match=f"must have SHA-256 {'0' * 64}, got {SHA256}"):
        find(NAME, f"{address}/good", "0" * 64)
    assert files(folders[1]) == []


def test_a_download_cut_off_is_not_kept(address: str, folders: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError, match="got 10 bytes of 50"):
        find(NAME, f"{address}/cut", None)
    assert files(folders[1]) == []


def test_a_file_damaged_in_the_cache_is_named(address: str) -> None:
    path = find(NAME, f"{address}/good", SHA256)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=f"{path} must have SHA-256 {SHA256}, .* delete it"):
        find(NAME, f"{address}/good", SHA256)


@pytest.mark.parametrize("place", ["missing", "nobody"])
def test_without_a_source_the_error_says_which_file_to_put_where(
    address: str, folders: tuple[Path, Path], place: str
) -> None:
    url = f"{address}/missing" if place == "missing" else "http://127.0.0.1:9/nobody"
    message = f"file.txt could not be downloaded from {url} .* put it at {folders[1] / NAME}"
    with pytest.raises(FileNotFoundError, match=message):
        find(NAME, url, SHA256)
    assert files(folders[1]) == []


def test_a_data_folder_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", "/no/such/folder")
    with pytest.raises(FileNotFoundError, match="GRAPHATTN_DATA must be a folder, got '/no/such"):
        data_folder()


def test_the_cache_is_the_platforms_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRAPHATTN_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/graphattn")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "graphattn"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "graphattn"
