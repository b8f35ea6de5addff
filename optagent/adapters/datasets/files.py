"""Data files: finds the files behind a path, glob, folder or URI, and refuses those that do not match their names."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.fs as pafs

from optagent.adapters.datasets.content import check_content
from optagent.domain.dataset import FileSource
from optagent.errors import InvalidData, OptAgentError, Unavailable
from optagent.secret_text import HIDDEN, hide_secrets

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
_COMPRESSIONS = (".gz", ".bz2", ".zst")
_HEAD_BYTES = 4096
_CSV_FAULT = re.compile(
    r"CSV parse error: (?:Row #\d+: )?Expected \d+ columns, got \d+|CSV conversion error to [\w\[\], ]+"
)
_GCS_RETRY_S = 5  # by default it retries for 15 minutes


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one format. Hive partitions are read from the folders below `root`; `where` is for messages."""

    filesystem: pafs.FileSystem
    paths: tuple[str, ...]
    root: str
    format: str
    where: str
    remote: bool


@contextmanager
def reading(where: str, remote: bool) -> Iterator[None]:
    """Turns Arrow's errors into InvalidData, or Unavailable where a remote store does not answer."""
    try:
        yield
    except OptAgentError:
        raise
    except FileNotFoundError:
        raise InvalidData(f"{where}: no such file") from None
    except (pa.ArrowException, UnicodeDecodeError, PermissionError) as error:
        raise InvalidData(f"{where}: cannot be read: {_describe_error(error)}") from None
    except OSError as error:
        refusal = Unavailable if remote else InvalidData
        raise refusal(f"{where}: cannot be read: {_describe_error(error)}") from None


def find_files(source: FileSource) -> Files:
    """The files of `source`, sorted by name, each checked to be of its format."""
    where = _shown_uri(source.uri)
    remote = "://" in source.uri and not source.uri.startswith("file://")
    with reading(where, remote):
        filesystem, path = _filesystem(source.uri, where)
        paths, root = _expand(filesystem, path, where)
        if paths != (path,):
            paths = _select_data_files(paths, root, source.format, where)
        kinds = sorted({source.format or _format_of(name, where) for name in paths})
        if len(kinds) > 1:
            raise InvalidData(f"{where}: files of several formats ({', '.join(kinds)}); name one format")
        for name in paths:
            _check_file(filesystem, name, kinds[0], where if len(paths) == 1 else f"{where}: {name}")
    return Files(filesystem, paths, root, kinds[0], where, remote)


def _shown_uri(uri: str) -> str:
    """The address without the login of a store, which is a key and its secret, and without the options of the store."""
    return re.sub(r"://[^/@]*@", f"://{HIDDEN}@", hide_secrets(uri))


def _filesystem(uri: str, where: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in uri:
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    if uri.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in uri:
        uri += ("&" if "?" in uri else "?") + f"retry_limit_seconds={_GCS_RETRY_S}"
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
        return filesystem, str(path)
    except pa.ArrowInvalid:
        raise InvalidData(f"{where}: not a usable address; a path, or file://, s3:// and gs:// are read") from None


def _expand(filesystem: pafs.FileSystem, path: str, where: str) -> tuple[tuple[str, ...], str]:
    info = filesystem.get_file_info(path)
    if info.type is pafs.FileType.File:
        return (path,), str(PurePosixPath(path).parent)
    if info.type is pafs.FileType.Directory:
        listing = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        return tuple(sorted(item.path for item in listing if item.type is pafs.FileType.File)), path
    magic = re.search(r"[*?\[]", path)
    if magic is None:
        raise InvalidData(f"{where}: no such file")
    from fsspec.implementations.arrow import ArrowFSWrapper

    listing = ArrowFSWrapper(filesystem).glob(path, detail=True)
    paths = tuple(sorted(name for name, item in listing.items() if item["type"] == "file"))
    if not paths:
        raise InvalidData(f"{where}: no file matches")
    return paths, path[: magic.start()].rpartition("/")[0]


def _select_data_files(paths: tuple[str, ...], root: str, format_given: str | None, where: str) -> tuple[str, ...]:
    """Leaves out hidden and marker files (`.part.crc`, `_SUCCESS`) and, unless a format is given, names without one."""
    visible = [path for path in paths if not any(part[0] in "._" for part in path[len(root) :].split("/") if part)]
    data_files = tuple(path for path in visible if format_given or _suffix(path)[0] in _FORMATS)
    if not data_files:
        raise InvalidData(f"{where}: no Parquet, CSV or Arrow file among {len(paths)} files")
    return data_files


def _suffix(path: str) -> tuple[str, str]:
    """The ending for the format, and the one for the compression, each empty where there is none."""
    suffixes = PurePosixPath(path.lower()).suffixes
    packed = suffixes.pop() if suffixes and suffixes[-1] in _COMPRESSIONS else ""
    return (suffixes[-1] if suffixes else ""), packed


def _format_of(path: str, where: str) -> str:
    suffix = _suffix(path)[0]
    if suffix not in _FORMATS:
        raise InvalidData(f"{where}: the name does not say the format; give one, or end it in one of {list(_FORMATS)}")
    return _FORMATS[suffix]


def _check_file(filesystem: pafs.FileSystem, path: str, kind: str, where: str) -> None:
    if filesystem.get_file_info(path).size == 0:
        raise InvalidData(f"{where}: the file is empty")
    with filesystem.open_input_stream(path, compression=None) as stream:
        head = stream.read(_HEAD_BYTES)
    check_content(head, kind, _suffix(path)[1], where)


def is_named_as_data(path: str) -> bool:
    """True for a file whose name says that it holds data; any other may be of anybody, and is not quoted."""
    return _suffix(path)[0] in _FORMATS


def _describe_error(error: BaseException) -> str:
    """Arrow's message in one line, at most 300 characters, without text of the file, which the CSV reader quotes."""
    text = " ".join(str(error).split())
    if text.startswith("CSV"):
        known = _CSV_FAULT.match(text)
        return known[0] if known else "it is not valid CSV"
    text = hide_secrets(text)
    return text if len(text) <= 300 else f"{text[:300]}…"
