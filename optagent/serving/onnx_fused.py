"""Fused ONNX graph: several models that take the same rows are asked in one call, which costs half of single calls.

The serialized graphs are joined as they are, field by field of the protocol buffers of ONNX, with other names for their
values: the library that writes graphs is not needed where they are scored, and takes half a second to import.
"""

from collections.abc import Iterator, Sequence

from optagent.arrays import Matrix, Prediction
from optagent.errors import InvalidRequest
from optagent.serving.onnx_engine import ANY_NUMBER, INPUT, OUTPUT, start_session
from optagent.training.families.feasible import check_columns

MOST_BYTES = 16_000_000
"""Of all graphs together, since a fused graph holds their trees once more."""

# Numbers of fields in onnx.proto: of a model, of its graph, and of the names in nodes, constants and outputs.
_GRAPH = 7
_NODES, _CONSTANTS, _INPUTS, _OUTPUTS = 1, 5, 11, 12
_NAMES = {_NODES: (1, 2), _CONSTANTS: (8,), _OUTPUTS: (1,)}
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types


class FusedEngine:
    """One session of ONNX Runtime for several models of these `columns` and `outputs`, for any number of threads.

    `rows_at_once` is that of the model which takes fewest.
    """

    def __init__(self, models: Sequence[bytes], columns: int, outputs: int, rows_at_once: int = ANY_NUMBER) -> None:
        self._session = start_session(fuse_models(models))._replace(rows_at_once=rows_at_once)
        self._names = [f"{OUTPUT}.{number}" for number in range(len(models))]
        self._columns = columns
        self._flat = outputs == 1

    def scores_of_each(self, x: Matrix) -> list[Prediction]:
        """The scores of each model as that one's engine gives them, bit for bit."""
        check_columns(x, self._columns)
        scores = self._session.scores(self._names, x)
        return [values[:, 0] for values in scores] if self._flat else list(scores)


def fuse_models(models: Sequence[bytes]) -> bytes:
    """A serialized model with the outputs `scores.0`, `scores.1` ... of models that `Graph.model` has made.

    Raises InvalidRequest for models of different versions of ONNX, and for what is no such model.
    """
    headers, graphs = zip(*map(_split_model, models), strict=True)
    if len(set(headers)) > 1:
        raise InvalidRequest("models to be fused need the same versions of ONNX")
    parts = [_rename_values(graph, f".{number}", number == 0) for number, graph in enumerate(graphs)]
    return headers[0] + _encode_field(_GRAPH, b"".join(parts))


def _split_model(model: bytes) -> tuple[bytes, bytes]:
    """The fields of a model but its graph, and the graph."""
    fields = list(_read_fields(model))
    graph = next((content for number, _, content in fields if number == _GRAPH and content is not None), b"")
    return b"".join(whole for number, whole, _ in fields if number != _GRAPH), graph


def _rename_values(graph: bytes, ending: str, is_first: bool) -> bytes:
    """The fields of a graph, all of whose values but the input get an `ending`; the input is that of the first one."""
    parts = []
    for number, whole, content in _read_fields(graph):
        if number in _NAMES and content is not None:
            parts.append(_encode_field(number, _rename_fields(content, _NAMES[number], ending.encode())))
        elif is_first:
            parts.append(whole)
    return b"".join(parts)


def _rename_fields(message: bytes, names: Sequence[int], ending: bytes) -> bytes:
    """A message with an ending behind its names; the input and an empty name, of an input left out, stay."""
    parts = []
    for number, whole, content in _read_fields(message):
        is_named = number in names and content is not None and content not in (b"", INPUT.encode())
        parts.append(_encode_field(number, content + ending) if is_named and content is not None else whole)
    return b"".join(parts)


def _read_fields(message: bytes) -> Iterator[tuple[int, bytes, bytes | None]]:
    """The number of each field, the whole of it, and its content where that is bytes."""
    at = 0
    while at < len(message):
        start, content = at, None
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            size, at = _read_varint(message, at)
            content = message[at : at + size]
            at += size
        elif wire == _VARINT:
            _, at = _read_varint(message, at)
        elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
            at += 4 if wire == _FOUR_BYTES else 8
        else:
            raise InvalidRequest(f"a model to be fused: wire type {wire} at byte {start} is none of ONNX")
        yield number, message[start:at], content


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and the place after it."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
        shift += 7
    raise InvalidRequest("a model to be fused ends in the middle of a number")


def _encode_field(number: int, content: bytes) -> bytes:
    return _encode_varint(number << 3 | _BYTES) + _encode_varint(len(content)) + content


def _encode_varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
