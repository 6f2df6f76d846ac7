"""Digits as points: counts, places, the split, and where the files may be."""

import gzip
import shutil
import struct
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from graphattn.datasets import mnist_points as module
from graphattn.datasets.labelled_sets import LabelledSets
from graphattn.datasets.mnist_points import mnist_points

NAMES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
DIGITS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # of MNIST's test images
Parts = tuple[LabelledSets, LabelledSets, LabelledSets]


@pytest.fixture(scope="module")
def folder(data_folder: Path) -> Path:
    if not (data_folder / "mnist_t10k").is_dir():
        pytest.skip(f"no mnist_t10k folder in {data_folder}")
    return data_folder


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRAPHATTN_DATA", str(folder))
        return mnist_points()


def raw(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = (gzip.decompress((folder / "mnist_t10k" / n).read_bytes()) for n in NAMES)
    pixels = torch.frombuffer(bytearray(images[16:]), dtype=torch.uint8).view(10000, 28, 28)
    return pixels, torch.frombuffer(bytearray(labels[8:]), dtype=torch.uint8).long()


def test_all_digits_are_there_once(parts: Parts, folder: Path) -> None:
    assert [len(part.y) for part in parts] == [8000, 1000, 1000]
    assert torch.cat([part.y for part in parts]).bincount().tolist() == DIGITS
    pixels, y = raw(folder)
    sizes = (pixels > 127).sum((1, 2))
    order = torch.randperm(10000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([part.y for part in parts]), y[order])
    assert torch.equal(torch.cat([part.ptr.diff() for part in parts]), sizes[order])


def test_points_draw_the_image_again(parts: Parts, folder: Path) -> None:
    pixels, _ = raw(folder)
    order = torch.randperm(10000, generator=torch.Generator().manual_seed(0))
    for number, own in enumerate(parts[0].split()[:20]):
        assert own.shape[1] == 3
        image, drawn = pixels[order[number]].float() / 255, torch.zeros(28, 28)
        column, row = ((1 + own[:, 0]) * 13.5).round().long(), ((1 - own[:, 1]) * 13.5).round()
        drawn[row.long(), column] = own[:, 2]
        assert_close(drawn, image.where(image > 0.5, 0.0))


def test_thresholds_and_blank_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    (tmp_path / "mnist_t10k").mkdir()
    images = torch.zeros(10000, 28, 28, dtype=torch.uint8)
    images[:, 0, 27], images[:, 27, 0] = 51, 255
    images[0] = 0
    for name, axes, values in zip(
        NAMES, ((10000, 28, 28), (10000,)), (images, torch.arange(10000) % 10), strict=True
    ):
        header = bytes([0, 0, 8, len(axes)]) + struct.pack(f">{len(axes)}i", *axes)
        content = header + values.to(torch.uint8).numpy().tobytes()
        (tmp_path / "mnist_t10k" / name).write_bytes(gzip.compress(content, 1))
    sets = mnist_points(threshold=0.1)
    assert sorted(torch.cat([part.ptr.diff() for part in sets]).tolist()) == [0] + [2] * 9999
    expected = torch.tensor([[1.0, 1.0, 0.2], [-1.0, -1.0, 1.0]])
    for part in sets:
        assert_close(part.x, expected.repeat(len(part.x) // 2, 1))
    assert sum(len(part.x) for part in mnist_points(threshold=0.5)) == 9999
    assert sum(len(part.x) for part in mnist_points(threshold=1)) == 0
    with pytest.raises(ValueError, match="threshold must be from 0 to 1, got 128"):
        mnist_points(threshold=128)


def test_files_in_the_cache_are_checked_and_give_the_same(
    parts: Parts, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    shutil.copytree(folder / "mnist_t10k", tmp_path / "cache" / "mnist_t10k")
    for part, expected in zip(mnist_points(), parts, strict=True):
        assert torch.equal(part.x, expected.x)
    damaged = tmp_path / "cache" / "mnist_t10k" / NAMES[1]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes() + b"!")
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz must have SHA-256"):
        mnist_points()


def test_without_files_the_error_names_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"put it at .*mnist_t10k/t10k-images-idx3-ubyte"):
        mnist_points()
