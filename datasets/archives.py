"""Zip archives among the data files: found or downloaded, and opened."""

import zipfile

from graphattn.datasets.files import find


def open_archive(name: str, url: str) -> zipfile.ZipFile:
    """Finds or downloads an archive whose checksum is not known to us, and opens it.

    Args:
        name: Path of the file inside the data folder or the cache, as in
            ``graphattn.datasets.files.find``.
        url: Address of the file.

    Raises:
        FileNotFoundError: If it is neither there nor to be had; says what to put where.
        ValueError: If the file is no archive, such as a page that says why there is none.
    """
    path = find(name, url, None)
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} must be a zip archive ({error}): delete it, try again") from error
