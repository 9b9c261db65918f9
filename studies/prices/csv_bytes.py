"""Reading a user's file as text: decompression and decoding."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from puffin.studies.prices.csv_header import shown
from puffin.studies.prices.names import DataError

# A file that decompresses to more is not a file of prices.
_MOST_BYTES = 2**30
# Other formats that users pass as CSV, by their first bytes in lower case.
_OTHER_FORMATS = {
    b"par1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x89hdf": "an HDF5 file",
    b"%pdf": "a PDF file",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"7z\xbc\xaf": "packed by 7-Zip",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "XML",
    b"{": "JSON",
    b"[": "JSON",
}


def read_bytes(path: Path) -> bytes:
    """Return the content of a file; ``~`` is the home folder.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError:
        why = f"does not exist: check the path (relative paths start at {Path.cwd()})"
    except IsADirectoryError:
        why = "is a directory: name the CSV file in it"
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it; an unknown user's home
        why = f"cannot be read ({error}): check its name and permissions"
    raise DataError(f"{path} must be a CSV file, but {why}")


def decode(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """Decompress and decode the bytes of `path`; return the text and notes.

    Raises
    ------
    DataError
        If they are not text.
    """
    try:
        body = _unpacked(data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        packed = next((kind for head, kind in _PACKED.items() if data.startswith(head)), "packed")
        why = f"its {packed} data cannot be unpacked ({error}): copy it again"
    # zipfile raises the last two on a password and on a kind of compression that it does not know.
    except (ValueError, RuntimeError, NotImplementedError) as error:
        why = str(error)
    else:
        start = body[:100].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
        kind = next((kind for head, kind in _OTHER_FORMATS.items() if start.startswith(head)), None)
        if kind is not None:
            why = f"is {kind}: save the table as CSV"
        elif not body.strip(b"\xef\xbb\xbf \r\n\t"):
            why = "is empty: export it again"
        elif (text := _decoded(body)) is not None:
            return text
        else:
            why = "is binary and not UTF-8: save it as CSV in UTF-8"
    raise DataError(f"{path} must be CSV text with a header and rows, but {why}")


def _unpacked(data: bytes) -> bytes:
    opener = next((o for head, o in _OPENERS.items() if data.startswith(head)), None)
    if opener is None:
        return data
    with opener(io.BytesIO(data)) as file:
        body: bytes = file.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError(f"unpacks to more than {_MOST_BYTES >> 30} GB: take fewer bars")
    return body


@contextmanager
def _open_zip(file: io.BytesIO) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.startswith(("xl/", "word/")) or name == "mimetype" for name in names):
            raise ValueError("is an Excel or another office file: save the sheet as CSV")
        files = [n for n in names if not n.endswith("/") and not n.startswith("__MACOSX/")]
        tables = [n for n in files if n.lower().endswith((".csv", ".txt", ".tsv"))] or files
        if len(tables) != 1:
            raise ValueError(
                f"has {len(tables)} files packed ({shown(tables, 3)}): unpack the right one"
            )
        with archive.open(tables[0]) as table:
            yield table


_OPENERS: dict[bytes, Callable[[io.BytesIO], AbstractContextManager[Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"PK\x03\x04": _open_zip,
}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK": "zip"}


def _decoded(body: bytes) -> tuple[str, tuple[str, ...]] | None:
    encodings = ("utf-16",) if body[:2] in {b"\xff\xfe", b"\xfe\xff"} else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            # A file of DOS ends with a marker.
            text = body.decode(encoding).rstrip("\x1a")
        except UnicodeDecodeError:
            continue
        if re.search(r"[\x00-\x08\x0e-\x1f]", text):
            return None
        is_guess = encoding == "cp1252"
        return text, ("the file is not UTF-8 and is read as Windows-1252",) if is_guess else ()
    return None
