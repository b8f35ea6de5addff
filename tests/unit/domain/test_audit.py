import json
import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optagent.domain.audit import GENESIS, AuditEntry, AuditLink, ChainPoint, link_entry, parse_link, parse_point
from optagent.domain.audit_chain import Fault, closing_line, opening_line, verify, verify_lines
from optagent.errors import InvalidRequest

ENTRY = AuditEntry(20.5, "ana", "rollout.promote", "churn", request_id="é", detail={"version": "4", "tries": 2})


def chain(length: int = 6, start: ChainPoint = GENESIS) -> list[AuditLink]:
    links: list[AuditLink] = []
    for number in range(length):
        entry = replace(ENTRY, at=float(number), detail={"number": number, "said": "ü\n\u2028"})
        links.append(link_entry(links[-1].point if links else start, entry))
    return links


def export_lines(links: list[AuditLink], start: ChainPoint = GENESIS) -> list[str]:
    return [opening_line(start), *(link.line for link in links), closing_line(links[-1].point)]


LINKS = chain()


def test_a_digest_is_of_the_digest_before_the_number_and_the_canonical_entry():
    first, second = LINKS[:2]
    text = (
        '{"action":"rollout.promote","actor":"ana","at":1.0,"detail":{"number":1,"said":"ü\\n\u2028"},"outcome":"done",'
        '"request_id":"é","target":"churn"}'
    )
    assert second.text == text
    assert second.digest == sha256(f"{first.digest}\n2\n{text}".encode()).hexdigest()
    assert first.digest == sha256(f"{'0' * 64}\n1\n{first.text}".encode()).hexdigest()


def test_a_link_reads_back_from_its_line_with_its_entry():
    for link in LINKS:
        assert parse_link(link.line) == link
        assert json.loads(link.line)["entry"] == json.loads(link.text)
    assert link_entry(GENESIS, ENTRY).entry == ENTRY


class Level(StrEnum):
    HIGH = "high"


def test_what_json_can_hold_is_linked_by_what_it_reads_back_as():
    detail = {"pair": (1, None), "level": Level.HIGH, "nested": MappingProxyType({"a": [True, 1e300, -0.0]})}
    link = link_entry(GENESIS, replace(ENTRY, at=20, detail=detail))
    assert link.entry.detail == {"pair": [1, None], "level": "high", "nested": {"a": [True, 1e300, -0.0]}}
    assert link_entry(GENESIS, link.entry) == link


def nested_lists(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.nan, id="nan"),
        pytest.param([-math.inf], id="inf"),
        pytest.param(b"bytes", id="bytes"),
        pytest.param({1, 2}, id="set"),
        pytest.param(1j, id="complex"),
        pytest.param({1: "a", 2: "b", 10: "c"}, id="numbers for keys"),
        pytest.param({1: "a", "1": "b"}, id="keys that read back as one"),
        pytest.param({None: 1, "a": 2}, id="keys without an order"),
        pytest.param("\ud800", id="half a surrogate pair"),
        pytest.param(nested_lists(100_000), id="too deep"),
    ],
)
def test_an_entry_that_is_no_canonical_json_is_refused_by_name(value: object):
    with pytest.raises(InvalidRequest, match=r"'rollout\.promote' cannot be written as canonical JSON"):
        link_entry(GENESIS, replace(ENTRY, detail={"value": value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("at", math.nan), ("at", "now"), ("at", None), ("actor", None), ("target", 3), ("detail", [1]), ("detail", None)],
    ids=str,
)
def test_an_entry_of_another_shape_is_refused_by_the_field(field: str, value: object):
    with pytest.raises(InvalidRequest, match=f"audit entry: {field} must be"):
        replace(ENTRY, **{field: value})


def test_a_link_without_an_entry_says_so_when_it_is_read():
    for text in ("[1]", "{", '{"at":1.0,"actor":"ana"}', '{"at":"a","actor":"b","action":"c"}', '{"shape":1}'):
        with pytest.raises(InvalidRequest, match="audit"):
            _ = AuditLink(3, text, "0" * 64).entry


@pytest.mark.parametrize(
    "text", ["", "1", "1:ab", f"01:{'0' * 64}", f"-1:{'0' * 64}", f"1:{'g' * 64}", f"1:{'0' * 65}"]
)
def test_a_point_that_is_none_is_refused_with_the_rule(text: str):
    with pytest.raises(InvalidRequest, match="SEQUENCE:DIGEST"):
        parse_point(text)


def test_a_whole_chain_is_told_from_its_first_to_its_last_link():
    report = verify(LINKS, head=LINKS[-1].point)
    assert report.is_whole
    assert not report.is_trimmed
    assert (report.links, report.first, report.last) == (6, 1, 6)
    assert (report.start, report.head) == (GENESIS, LINKS[-1].point)
    assert parse_point(str(report.head)) == report.head


def test_an_empty_log_is_whole_where_nothing_was_ever_written():
    assert verify([], head=GENESIS).is_whole
    assert (verify([]).first, verify([]).last) == (None, None)
    assert verify([], head=LINKS[1].point).broken.fault is Fault.MISSING


def test_a_trimmed_log_is_verified_from_its_oldest_link_and_says_so():
    report = verify(LINKS[2:], LINKS[1].point, LINKS[-1].point)
    assert report.is_whole
    assert report.is_trimmed
    assert (report.links, report.first, report.last) == (4, 3, 6)
    assert verify(LINKS[3:], LINKS[1].point).broken.sequence == 3


def test_every_altered_character_of_every_line_is_found_at_its_link():
    for place, link in enumerate(LINKS):
        for at, letter in enumerate(link.line):
            line = f"{link.line[:at]}{'0' if letter != '0' else '1'}{link.line[at + 1 :]}"
            lines = [each.line for each in LINKS]
            lines[place] = line
            report = verify(map(parse_link, lines), head=LINKS[-1].point)
            assert report.broken is not None
            assert report.broken.sequence == place + 1
            assert report.last == (place or None)


@given(st.integers(0, 5), st.data())
def test_a_line_that_was_cut_or_grown_anywhere_is_found(place: int, data: st.DataObject):
    line = LINKS[place].line
    at = data.draw(st.integers(0, len(line)))
    changed = data.draw(
        st.sampled_from([line[:at], line[:at] + line[at + 1 :], f"{line[:at]} {line[at:]}", f"{line}\n"])
    )
    lines = [each.line for each in LINKS]
    lines[place] = changed
    assert (changed == line) is verify(map(parse_link, lines)).is_whole


def test_a_removed_link_is_missing_wherever_it_stood():
    for place in range(len(LINKS)):
        report = verify(LINKS[:place] + LINKS[place + 1 :], head=LINKS[-1].point)
        assert (report.broken.sequence, report.broken.fault) == (place + 1, Fault.MISSING)


def test_a_swapped_pair_is_in_the_wrong_order():
    for place in range(len(LINKS) - 1):
        swapped = [*LINKS]
        swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
        report = verify(swapped, head=LINKS[-1].point)
        assert (report.broken.sequence, report.broken.fault) == (place + 1, Fault.ORDER)
        assert report.links == 6


def test_an_inserted_link_is_found_whatever_it_says_of_itself():
    for place in range(len(LINKS) + 1):
        before = LINKS[place - 1].point if place else GENESIS
        forged = link_entry(before, replace(ENTRY, actor="mallory"))
        again = LINKS[max(0, place - 1)]
        for inserted in (forged, again):
            report = verify([*LINKS[:place], inserted, *LINKS[place:]], head=LINKS[-1].point)
            assert not report.is_whole


def test_contents_that_changed_places_under_their_numbers_are_altered():
    swapped = [*LINKS]
    swapped[2], swapped[3] = replace(LINKS[2], text=LINKS[3].text), replace(LINKS[3], text=LINKS[2].text)
    report = verify(swapped)
    assert (report.broken.sequence, report.broken.fault) == (3, Fault.ALTERED)


def test_the_first_of_several_breaks_is_named():
    altered = [*LINKS[:2], replace(LINKS[2], digest="0" * 64), *LINKS[4:]]
    assert str(verify(altered).broken) == (
        "link 3: altered entry: its digest is not that of its entry after the link before"
    )


def test_a_log_that_was_written_anew_is_told_by_what_was_noted_only():
    forged = chain(4)
    forged += [link_entry(forged[-1].point, replace(ENTRY, actor="mallory"))]
    forged += [link_entry(forged[-1].point, ENTRY)]
    head = forged[-1].point
    assert verify(forged, head=head).is_whole
    assert verify(forged, head=head, noted=LINKS[3].point).is_whole
    assert verify(forged, head=head, noted=LINKS[4].point).broken.sequence == 5
    assert verify(forged[:3], head=forged[2].point, noted=LINKS[4].point).broken.fault is Fault.MISSING
    assert verify(forged[3:], forged[2].point, noted=ChainPoint(3, "0" * 64)).broken.sequence == 3
    with pytest.raises(InvalidRequest, match="link 2 was dropped"):
        verify(forged[3:], forged[2].point, noted=LINKS[1].point)


@pytest.mark.parametrize("dropped", [0, 3])
def test_an_export_is_verified_by_its_lines_alone(dropped: int):
    start = LINKS[dropped - 1].point if dropped else GENESIS
    report = verify_lines(f"{line}\n" for line in export_lines(LINKS[dropped:], start))
    assert report == verify(LINKS[dropped:], start, LINKS[-1].point)
    assert report.is_whole
    assert verify_lines([opening_line(GENESIS), closing_line(GENESIS)]).links == 0


def test_an_export_that_ends_early_is_not_whole():
    lines = export_lines(LINKS)
    for end in range(1, len(lines)):
        report = verify_lines(lines[:end])
        assert (report.broken.sequence, report.broken.fault) == (end, Fault.MISSING)
        assert report.links == end - 1


@pytest.mark.parametrize("change", ["removed", "doubled", "swapped", "spaced", "behind the end"])
def test_an_export_that_was_changed_is_not_whole(change: str):
    lines = export_lines(LINKS)
    if change == "removed":
        del lines[3]
    elif change == "doubled":
        lines.insert(3, lines[3])
    elif change == "swapped":
        lines[3], lines[4] = lines[4], lines[3]
    elif change == "spaced":
        lines[3] = lines[3].replace('"entry":', '"entry": ')
    else:
        lines.append(lines[-1])
    assert not verify_lines(lines).is_whole


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["{}"],
        ["[" * 100_000],
        ['{"format":"optagent audit log 1","start":{"digest":"0","sequence":0}}'],
        [opening_line(GENESIS).replace(" 2", " 3")],
        [opening_line(GENESIS).replace('"sequence":0', '"sequence":"0"')],
    ],
    ids=["empty", "blank", "object", "deep", "digest", "format", "text for a number"],
)
def test_a_file_that_is_no_export_is_refused(lines: list[str]):
    with pytest.raises(InvalidRequest, match="no exported audit log"):
        verify_lines(lines)


def test_a_detail_of_any_mapping_type_is_kept_as_an_object():
    class Own(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return {"a": 1}[key]

        def __iter__(self):
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    assert link_entry(GENESIS, replace(ENTRY, detail=Own())).entry.detail == {"a": 1}
