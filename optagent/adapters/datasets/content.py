"""File content: the format of a file, recognised by its first bytes."""

from optagent.errors import InvalidData

_SIGNATURES = {
    b"PAR1": "Parquet",
    b"PARE": "encrypted Parquet",
    b"ARROW1": "Arrow",
    b"FEA1": "Feather version 1",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP or Excel",
    b"\xd0\xcf\x11\xe0": "old Excel",
    b"SQLite format 3": "SQLite",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\xff\xff\xff\xff": "Arrow stream",
}
_COMPRESSIONS = {"gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst"}
_EXPECTED = {"parquet": "Parquet", "arrow": "Arrow", "csv": "text"}


def content_of(head: bytes) -> str:
    """The format of a file that begins with `head`.

    >>> content_of(b"PAR1..."), content_of(b"a,b\\n1,2\\n")
    ('Parquet', 'text')
    """
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if b"\0" in head:
        return "binary data"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "HTML or XML"
    if start.startswith((b'{"', b"[{", b"[[")):
        return "JSON"
    return "text"


def compression_of(head: bytes) -> str | None:
    """Arrow's name for the compression of a file that begins with `head`; None without compression."""
    kind = content_of(head)
    return {"gzip": "gzip", "bzip2": "bz2", "zstd": "zstd"}.get(kind)


def check_content(head: bytes, expected: str, packed: str, where: str) -> None:
    """Raises InvalidData for a file whose bytes are not of the `expected` format; reading checks compressed text."""
    kind = content_of(head)
    if packed and _COMPRESSIONS.get(kind) != packed:
        raise InvalidData(f"{where}: named {packed}, but it holds {kind}")
    if expected == "csv" and kind in _COMPRESSIONS:
        return
    if kind != _EXPECTED[expected]:
        raise InvalidData(f"{where}: read as {_NAMES[expected]}, but it holds {kind}")


_NAMES = {"parquet": "Parquet", "arrow": "an Arrow file", "csv": "CSV"}
