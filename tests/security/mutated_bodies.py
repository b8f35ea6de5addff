"""Mutated bodies: valid requests of predictions and labels, altered byte by byte and by what their format means."""

import json
import random
import re
import struct
from typing import NamedTuple

import pyarrow as pa

from tests.fakes.data_plane import ARROW, JSON, ROW, stream


class MutatedBody(NamedTuple):
    verb: str
    content_type: str
    body: bytes


def valid_bodies() -> list[MutatedBody]:
    """Requests of every form, each of which is answered."""
    rows = [{**ROW, "a": at / 7, "city": "Oslo" if at % 3 else None} for at in range(60)]
    columns = {name: [row[name] for row in rows] for name in ROW}
    ids = [f"id {at}" for at in range(60)]
    table = pa.Table.from_pylist(rows)
    batches = table.to_batches(max_chunksize=25)
    coded = table.set_column(1, "city", table["city"].dictionary_encode())
    labels = [{"id": name, "label": "yes", "amount": 1.5 * at} for at, name in enumerate(ids)]
    ask, tell = "predict", "labels"
    return [
        MutatedBody(ask, JSON, json.dumps({"row": ROW}).encode()),
        MutatedBody(ask, JSON, json.dumps({"rows": rows, "ids": ids, "key": "someone"}).encode()),
        MutatedBody(ask, JSON, json.dumps({"rows": columns, "ids": list(range(60))}).encode()),
        MutatedBody(ask, JSON, json.dumps({"rows": rows * 40}).encode()),
        MutatedBody(ask, ARROW, stream(table)),
        MutatedBody(ask, ARROW, stream(table.slice(0, 1))),
        MutatedBody(ask, ARROW, stream(table.append_column("id", [ids]))),
        MutatedBody(ask, ARROW, stream(*batches)),
        MutatedBody(ask, ARROW, stream(coded)),
        MutatedBody(ask, ARROW, stream(pa.table({name: pa.nulls(60) for name in ROW}))),
        MutatedBody(tell, JSON, json.dumps({"labels": labels}).encode()),
        MutatedBody(tell, JSON, json.dumps({"labels": [{"id": 7, "label": 1}]}).encode()),
        MutatedBody(tell, ARROW, stream(pa.Table.from_pylist(labels))),
    ]


_LONGS = [0, 1, -1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.]+|true|false|null')
_TOKENS = [
    *(b"null", b"true", b"-0", b"1e999", b"1e308", b"9" * 400, b"9" * 5000, b"NaN", b"253402300800", b"-62135596801"),
    *(b"{}", b"[]", b"[" * 500 + b"]" * 500, b"[" * 5000, b'{"a":1}', b'"' + b"x" * 70_000 + b'"'),
    *(b'""', b'"\\ud800"', b'"\xff"', b'"\xc3\xa9"', b'"a"', b'"id"', b'"time"', b'"label"', b'"rows"'),
    *(b'"2024-13-99"', b'"9999-12-31T23:59:59Z"', b'"0001-01-01"'),
]


def mutate(chance: random.Random, bodies: list[MutatedBody]) -> MutatedBody:
    """One of the bodies with one to four changes."""
    verb, content_type, body = chance.choice(bodies)
    for _ in range(chance.choice([1, 1, 2, 4])):
        by_meaning = _set_long if content_type == ARROW else _set_token
        changes = [_flip_bits, _truncate, _splice, _repeat, _set_long, *[by_meaning] * 10]
        body = chance.choice(changes)(chance, body, chance.choice(bodies).body)
    if chance.random() < 0.02:
        verb = chance.choice(["predict", "labels"])
    if chance.random() < 0.02:
        content_type = chance.choice([JSON, ARROW, "text/plain"])
    return MutatedBody(verb, content_type, body[:300_000])


def _flip_bits(chance: random.Random, body: bytes, other: bytes) -> bytes:
    altered = bytearray(body)
    for _ in range(chance.choice([1, 1, 3, 20])):
        if altered:
            altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
    return bytes(altered)


def _truncate(chance: random.Random, body: bytes, other: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    return body[:at] if chance.random() < 0.5 else body[:at] + body[at + chance.randrange(64) :]


def _splice(chance: random.Random, body: bytes, other: bytes) -> bytes:
    return body[: chance.randrange(len(body) + 1)] + other[chance.randrange(len(other) + 1) :]


def _repeat(chance: random.Random, body: bytes, other: bytes) -> bytes:
    first = chance.randrange(len(body) + 1)
    part = body[first : first + chance.choice([8, 64, 500])]
    return body[:first] + part * chance.choice([2, 3, 100]) + body[first:]


def _set_long(chance: random.Random, body: bytes, other: bytes) -> bytes:
    """Another number where a length, an offset or a count may stand; three in four are within the headers."""
    if len(body) < 16:
        return body
    value, width = chance.choice([*_LONGS, chance.randrange(300)]), chance.choice([2, 4, 8])
    at = 4 * chance.randrange((len(body) if chance.random() < 0.25 else min(len(body), 900)) // 4 - 2)
    return body[:at] + struct.pack("<q", value)[:width] + body[at + width :]


def _set_token(chance: random.Random, body: bytes, other: bytes) -> bytes:
    tokens = list(_TOKEN.finditer(body[:20_000]))
    if not tokens:
        return body
    token = chance.choice(tokens)
    return body[: token.start()] + chance.choice(_TOKENS) + body[token.end() :]
