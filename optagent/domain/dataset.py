"""Data sources: files or a database query that hold the rows of a model."""

from dataclasses import dataclass

from optagent.errors import InvalidRequest

FORMATS = ("parquet", "csv", "arrow")


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files by path, glob or URI (local, s3, gcs); without a `format` it follows from the name."""

    uri: str
    """Path, glob or URI of the files. A relative path is one below the folder of the model.yaml."""
    format: str | None = None
    """parquet, csv or arrow. Unset: by the ending of the name."""

    def __post_init__(self) -> None:
        if not self.uri.strip():
            raise InvalidRequest("data: the path is empty")
        if self.format is not None and self.format not in FORMATS:
            raise InvalidRequest(f"data: unknown format {self.format!r}; one of {list(FORMATS)}")


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The rows of one query to a database by its SQLAlchemy URL; `${NAME}` in it is read from the environment."""

    url: str
    """SQLAlchemy URL of the database."""
    query: str
    """The query, whose result is the rows."""

    def __post_init__(self) -> None:
        if "://" not in self.url:
            raise InvalidRequest("data: the url is not a SQLAlchemy URL such as postgresql://host/name")
        if not self.query.strip():
            raise InvalidRequest("data: the query is empty")


DataSource = FileSource | SqlSource
