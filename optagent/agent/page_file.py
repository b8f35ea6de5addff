"""Page file: a page is written to its path whole or not at all."""

import uuid
from pathlib import Path

from optagent.errors import InvalidRequest


def write_page(page: str, path: Path, make_folder: bool = False) -> Path:
    """Writes a page and answers its path; InvalidRequest for a path that cannot be written.

    With `make_folder`, missing folders are made.
    """
    path = Path(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir():
            raise InvalidRequest(f"{path}: there is no folder {str(path.parent)!r}")
        if path.is_dir():
            raise InvalidRequest(f"{path}: is a folder, a file is needed")
        _replace(path, page)
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _replace(path: Path, page: str) -> None:
    scratch = path.with_name(f".{uuid.uuid4().hex}.html")
    try:
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
