from dataclasses import replace

import pytest

from optagent.domain.audit import GENESIS, AuditEntry, AuditLink, ChainPoint, link_entry, parse_link
from optagent.domain.audit_anchor import AuditAnchor, AuditTrust
from optagent.domain.audit_chain import Fault, closing_line, opening_line, verify, verify_lines
from optagent.domain.audit_signature import AuditKey, AuditKeyring, new_secret, parse_keyring
from optagent.errors import InvalidRequest

KEYS = parse_keyring(f"# old\n{'1' * 64}\n\n{'2' * 64}\n")
OLD, NEW = KEYS.keys


def chain(*keys: AuditKey | None, start: ChainPoint = GENESIS) -> list[AuditLink]:
    links: list[AuditLink] = []
    for number, key in enumerate(keys):
        entry = AuditEntry(float(number), "ana", "model.update", detail={"key": '"key":"0","sequence":1}'})
        links.append(link_entry(links[-1].point if links else start, entry, key))
    return links


def fault_of(links: list[AuditLink], trust: AuditTrust) -> tuple[int, Fault] | None:
    broken = verify(links, trust=trust).broken
    return None if broken is None else (broken.sequence, broken.fault)


def test_a_signature_is_hmac_sha256_of_number_and_digest():
    [link] = chain(OLD)
    assert link.key_id == OLD.key_id == KEYS.ids[0]
    assert OLD.has_signed(1, link.digest, link.signature)
    assert not OLD.has_signed(2, link.digest, link.signature)
    assert not NEW.has_signed(1, link.digest, link.signature)


def test_a_signed_link_has_the_digest_of_an_unsigned_one_and_reads_back_from_its_line():
    for signed, unsigned in zip(chain(OLD, NEW), chain(None, None), strict=True):
        assert signed.point == unsigned.point
        assert parse_link(signed.line) == signed
        assert parse_link(unsigned.line) == unsigned


def test_half_a_signature_cannot_be_read():
    [link] = chain(OLD)
    for half in (replace(link, key_id=""), replace(link, signature="")):
        assert parse_link(half.line).sequence == 0


def test_signatures_begin_anywhere_and_then_never_stop():
    trust = AuditTrust(None, KEYS)
    assert fault_of(chain(None, None, OLD, OLD, NEW), trust) is None
    assert verify(chain(None, None, OLD), trust=trust).signed_from == 3
    assert fault_of(chain(None, OLD, None, OLD), trust) == (3, Fault.UNSIGNED)
    assert fault_of(chain(None, OLD, None), AuditTrust()) == (3, Fault.UNSIGNED)


def test_an_older_key_never_signs_after_a_newer_one():
    assert fault_of(chain(OLD, NEW, OLD), AuditTrust(None, KEYS)) == (3, Fault.FORGED)


def test_a_key_that_is_not_there_is_named():
    report = verify(chain(OLD), trust=AuditTrust(None, AuditKeyring((NEW,))))
    assert report.broken.fault is Fault.UNKNOWN_KEY
    assert OLD.key_id in report.broken.why


def test_the_anchor_says_from_where_on_links_must_be_signed():
    links = chain(None, None, None)
    assert fault_of(links, AuditTrust(AuditAnchor(), KEYS)) is None
    assert fault_of(links, AuditTrust(AuditAnchor(signed_from=3), KEYS)) == (3, Fault.UNSIGNED)


def test_the_head_of_the_anchor_must_still_be_there():
    links = chain(OLD, OLD, OLD)
    anchor = AuditAnchor(signed_from=1, head=links[2].point)
    assert fault_of(links, AuditTrust(anchor, KEYS)) is None
    assert fault_of(links[:2], AuditTrust(anchor, KEYS)) == (3, Fault.MISSING)
    other = [*links[:2], link_entry(links[1].point, AuditEntry(9.0, "ana", "model.update"), OLD)]
    assert fault_of(other, AuditTrust(anchor, KEYS)) == (3, Fault.ALTERED)


def test_an_export_is_verified_with_keys_and_without():
    links = chain(None, OLD)
    lines = [opening_line(GENESIS), *(link.line for link in links), closing_line(links[-1].point)]
    report = verify_lines(lines)
    assert (report.is_whole, report.signed_from, report.has_keys) == (True, 2, False)
    assert verify_lines(lines, trust=AuditTrust(None, KEYS)).has_keys
    lines[2] = links[1].line.replace(links[1].signature, "0" * 64)
    assert verify_lines(lines).is_whole
    assert verify_lines(lines, trust=AuditTrust(None, KEYS)).broken.fault is Fault.FORGED


def test_an_export_of_the_format_before_can_still_be_verified():
    links = chain(None)
    lines = [opening_line(GENESIS).replace("log 2", "log 1"), links[0].line, closing_line(links[0].point)]
    assert verify_lines(lines).is_whole


def test_a_new_secret_is_a_key():
    assert parse_keyring(new_secret()).newest is not None


@pytest.mark.parametrize("text", ["", "# none", "0" * 63, "0" * 65, "x" * 64])
def test_a_text_without_keys_is_refused_without_its_content(text: str):
    with pytest.raises(InvalidRequest, match="audit key") as refusal:
        parse_keyring(text)
    assert text[:20] == "" or text not in str(refusal.value)
