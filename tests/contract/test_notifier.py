"""Notifiers: one in memory, and apprise with real servers for HTTP, Slack's webhooks and SMTP on this machine."""

import base64
import email
import json
import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from email.policy import default
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from optagent.adapters import notifier as adapter
from optagent.adapters.notifier import AppriseNotifier, email_url
from optagent.domain.alert import Severity
from optagent.domain.notice import Notice, NoticeKind
from optagent.errors import InvalidRequest, Unavailable
from tests.fakes.notifier import InMemoryNotifier

SECRET = "s3cr3tT0ken"


class Sink:
    """The requests that its server received, and its mode of answering: "ok", or one of several failures."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.mode = "ok"
        self.asked = 0
        self.failures = 0  # of the next requests, whatever the mode
        self.stopped = threading.Event()
        self.server: Any = None

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def serve(self, server: Any) -> None:
        server.daemon_threads = server.allow_reuse_address = True
        self.server = server
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def die(self) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def way(self) -> str:
        self.asked += 1
        if self.failures:
            self.failures -= 1
            return "refuse"
        return self.mode


class HttpSink(Sink):
    """Takes JSON as apprise posts it, and below /services what Slack takes."""

    def __init__(self) -> None:
        super().__init__()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                way = sink.way()
                if way == "hang":
                    sink.stopped.wait(30)
                elif way == "drip":
                    self.drip()
                elif way == "refuse":
                    self.answer(503, b"")
                elif way == "redirect":
                    sink.mode = "ok"
                    self.answer(302, b"", ("Location", f"http://127.0.0.1:{sink.port}/elsewhere"))
                elif self.path.startswith("/services/"):
                    [part] = said["attachments"]
                    sink.received.append((part["title"], part["text"]))
                    self.answer(200, b"ok")
                else:
                    sink.received.append((said["title"], said["message"]))
                    self.answer(200, b"{}")

            do_GET = do_POST

            def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for header in (*headers, ("Content-Length", str(len(body)))):
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(body)

            def drip(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not sink.stopped.wait(0.02):
                    self.wfile.write(b".")

            def log_message(self, *of: object) -> None: ...

        self.serve(ThreadingHTTPServer(("127.0.0.1", 0), Handler))


class SmtpSink(Sink):
    """A mail server that keeps what it is given, with whom it is for, and who logged in."""

    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[str] = []
        self.logins: list[tuple[str, str]] = []
        self.kinds: list[str] = []
        sink = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                way = sink.way()
                if way == "hang":
                    sink.stopped.wait(30)
                    return
                self.say("220 sink")
                while line := self.rfile.readline().decode().strip():
                    verb = line.split()[0].upper()
                    if verb == "EHLO":
                        self.say("250-sink\r\n250 AUTH PLAIN")
                    elif verb == "AUTH":
                        _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                        sink.logins.append((user, password))
                        self.say("235 welcome")
                    elif verb == "RCPT":
                        sink.recipients.append(line.partition("<")[2].partition(">")[0])
                        self.say("554 go away" if way == "refuse" else "250 ok")
                    elif verb == "DATA":
                        if way == "die":
                            return
                        self.say("354 go on")
                        self.take()
                    elif verb == "QUIT":
                        return self.say("221 bye")
                    else:
                        self.say("250 ok")

            def take(self) -> None:
                lines = iter(self.rfile.readline, b".\r\n")
                found = email.message_from_bytes(b"".join(lines), policy=default)
                sink.kinds.append(found.get_content_type())
                sink.received.append((str(found["Subject"]), found.get_content().replace("\r\n", "\n").strip()))
                self.say("250 ok")

            def say(self, text: str) -> None:
                self.wfile.write(text.encode() + b"\r\n")

        self.serve(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))

    def url(self, recipient: str = "ops@example.com", user: str | None = None, password: str | None = None) -> str:
        return email_url("optagent@example.com", recipient, "127.0.0.1", self.port, user, password, starttls=False)


class Memory(Sink):
    """The in-memory notifier as the others are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.notifier = InMemoryNotifier()

    @property
    def mode(self) -> str:
        return "refuse" if self.notifier.down else "ok"

    @mode.setter
    def mode(self, mode: str) -> None:
        if mode != "ok":
            self.notifier.down.add("memory")
        elif hasattr(self, "notifier"):
            self.notifier.down.clear()

    @property
    def received(self) -> list[tuple[str, str]]:
        return [(message.title, message.text) for _, message in self.notifier.sent]

    @received.setter
    def received(self, of: object) -> None: ...


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def http() -> Iterator[HttpSink]:
    sink = HttpSink()
    yield sink
    if not sink.stopped.is_set():
        sink.die()


@pytest.fixture
def smtp() -> Iterator[SmtpSink]:
    sink = SmtpSink()
    yield sink
    if not sink.stopped.is_set():
        sink.die()


def slack_url(sink: HttpSink) -> str:
    return f"http://127.0.0.1:{sink.port}/services/T0AAA/B0BBB/{SECRET}"


def json_url(sink: HttpSink) -> str:
    return f"json://me:{SECRET}@127.0.0.1:{sink.port}/"


URLS: dict[str, Callable[[Any], str]] = {"json": json_url, "slack": slack_url, "email": SmtpSink.url}


@pytest.fixture(params=["in_memory", "json", "slack", "email"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sink(kind: str, request: pytest.FixtureRequest) -> Any:
    if kind == "in_memory":
        return Memory()
    return request.getfixturevalue("smtp" if kind == "email" else "http")


@pytest.fixture
def notifier(kind: str, sink: Any) -> Any:
    return sink.notifier if kind == "in_memory" else AppriseNotifier([URLS[kind](sink)], timeout_s=5.0)


def a_notice(key: str = "k1", **changes: Any) -> Notice:
    said = {
        "kind": NoticeKind.ALERT,
        "model_id": "churn",
        "title": f"churn: drift {key}",
        "text": "2 features have drifted: range_21, é\nSeen since noon.",
        "severity": Severity.WARNING,
        "at": 1_700_000_000.0,
        "key": key,
    }
    return Notice(**{**said, **changes})


def time_failure(send: Callable[[], None]) -> tuple[float, str]:
    """The seconds that a failing send takes, and its message."""
    started = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        send()
    return time.monotonic() - started, str(failed.value)


def test_a_notice_arrives_with_its_title_and_text(notifier, sink):
    notice = a_notice()
    notifier.send(notice)
    assert sink.received == [(notice.title, notice.text)]


def test_several_notices_arrive_as_one_message_the_worst_first(notifier, sink):
    mild, bad = a_notice("mild", severity=Severity.INFO), a_notice("bad", severity=Severity.CRITICAL)
    notifier.send([mild, bad])
    [(title, text)] = sink.received
    assert title == "churn: drift bad, and 1 more"
    assert text.index(bad.title) < text.index(mild.title)


def test_markup_arrives_as_text_that_does_nothing(notifier, sink):
    notifier.send(a_notice(title="<!channel> a\nb", text="<script>x</script> & @everyone `rm`"))
    [(title, text)] = sink.received
    assert (title, unescape(text)) == ("‹!channel› a b", "‹script›x‹/script› & ＠everyone 'rm'")


def test_a_channel_that_refuses_is_named_by_its_kind_and_told_the_next_time(notifier, sink, kind):
    sink.mode = "refuse"
    _, said = time_failure(lambda: notifier.send(a_notice()))
    assert f"not told by {'memory' if kind == 'in_memory' else kind}" in said
    assert SECRET not in said
    assert "127.0.0.1" not in said
    sink.mode = "ok"
    notifier.send(a_notice())
    assert len(sink.received) == 1


def test_what_was_told_everywhere_is_told_again_where_it_is_sent_again(notifier, sink):
    notifier.send(a_notice())
    notifier.send(a_notice())
    assert len(sink.received) == 2


def test_a_closed_notifier_sends_nothing(notifier, sink):
    notifier.close()
    notifier.close()
    with pytest.raises(Unavailable, match="closed"):
        notifier.send(a_notice())
    assert sink.received == []


def test_of_two_channels_the_one_that_is_up_is_told_once_and_the_other_when_it_is_back(http, smtp):
    http.mode = "refuse"
    notifier = AppriseNotifier([json_url(http), smtp.url()], timeout_s=5.0)
    assert notifier.channels == ("json", "email")
    for _ in range(2):
        _, said = time_failure(lambda: notifier.send(a_notice()))
        assert said == "not told by json (HTTP 503)"
    assert (len(smtp.received), len(http.received)) == (1, 0)
    http.mode = "ok"
    notifier.send([a_notice(), a_notice("k2")])
    assert (len(smtp.received), len(http.received)) == (2, 1)
    assert "k1" not in "".join(smtp.received[1])
    assert "k1" in "".join(http.received[0])


def test_in_memory_too_one_of_two_channels_is_told_once():
    notifier = InMemoryNotifier(("slack", "email"))
    notifier.down.add("slack")
    for _ in range(2):
        with pytest.raises(Unavailable, match="not told by slack"):
            notifier.send(a_notice())
    notifier.down.clear()
    notifier.send(a_notice())
    assert [channel for channel, _ in notifier.sent] == ["email", "slack"]


def test_a_channel_that_fails_twice_is_told_at_the_third_try(http):
    http.failures = 2
    AppriseNotifier([slack_url(http)], timeout_s=5.0).send(a_notice())
    assert (http.asked, len(http.received)) == (3, 1)


def test_a_channel_is_tried_three_times_and_no_more(http):
    http.mode = "refuse"
    _, said = time_failure(lambda: AppriseNotifier([slack_url(http)], timeout_s=5.0).send(a_notice()))
    assert (http.asked, said) == (3, "not told by slack (HTTP 503)")


@pytest.mark.parametrize("name", ["json", "slack", "email"])
def test_a_server_that_hangs_is_waited_for_only_so_long(name, http, smtp):
    broken = smtp if name == "email" else http
    broken.mode = "hang"
    took_s, said = time_failure(lambda: AppriseNotifier([URLS[name](broken)], timeout_s=0.6).send(a_notice()))
    assert took_s < 4
    assert said.startswith(f"not told by {name} (")


def test_a_server_that_never_ends_its_answer_is_left_alone_until_it_does(http, smtp):
    http.mode = "drip"
    notifier = AppriseNotifier([json_url(http), smtp.url()], timeout_s=1.0)
    for number in range(2):
        took_s, said = time_failure(lambda key=f"k{number}": notifier.send(a_notice(key)))
        assert took_s < 4
        assert said == "not told by json (no answer in time)"
    assert (http.asked, len(smtp.received)) == (1, 2)


@pytest.mark.parametrize("name", ["json", "slack", "email"])
def test_a_server_that_is_gone_is_told_of_at_once(name, http, smtp):
    gone = smtp if name == "email" else http
    url = URLS[name](gone)
    gone.die()
    took_s, said = time_failure(lambda: AppriseNotifier([url], timeout_s=5.0).send(a_notice()))
    assert took_s < 4
    assert said == f"not told by {name} (cannot be reached, or refuses)"


def test_a_mail_server_that_dies_on_the_way_has_taken_nothing(smtp):
    smtp.mode = "die"
    took_s, _ = time_failure(lambda: AppriseNotifier([smtp.url()], timeout_s=5.0).send(a_notice()))
    assert took_s < 4
    assert smtp.received == []


def test_mail_is_plain_text_from_who_logs_in_to_each_who_is_named(smtp):
    login = ("ops@example.com", "p@:/s?#%w &+")
    urls = [smtp.url(recipient, *login) for recipient in ("a@example.com", "b+x@example.com")]
    AppriseNotifier(urls, timeout_s=5.0).send(a_notice())
    assert sorted(smtp.recipients) == ["a@example.com", "b+x@example.com"]
    assert smtp.logins == [login, login]
    assert smtp.kinds == ["text/plain"] * 2


def test_where_tls_is_asked_for_nothing_is_said_without_it(smtp):
    urls = [
        email_url("optagent@example.com", "ops@example.com", "127.0.0.1", smtp.port, "me", SECRET, starttls=True),
        email_url("optagent@example.com", "ops@example.com", "127.0.0.1", smtp.port, None, None, starttls=True),
    ]
    _, said = time_failure(lambda: AppriseNotifier(urls, timeout_s=5.0).send(a_notice()))
    assert said == "not told by email (cannot be reached, or refuses)"
    assert (smtp.logins, smtp.recipients, smtp.received) == ([], [], [])


def test_a_redirection_is_not_followed(http):
    http.mode = "redirect"
    notifier = AppriseNotifier([json_url(http)], timeout_s=5.0)
    notifier.send(a_notice())
    assert http.asked == 2  # the second is another try at the same place
    assert len(http.received) == 1


def test_no_log_names_an_address_or_a_secret(http, caplog):
    caplog.set_level(logging.DEBUG)
    for name in (None, "apprise", "urllib3", "urllib3.connectionpool"):
        caplog.set_level(logging.DEBUG, logger=name)
    notifier = AppriseNotifier([slack_url(http), json_url(http)], timeout_s=5.0)
    notifier.send(a_notice())
    http.mode = "refuse"
    time_failure(lambda: notifier.send(a_notice("k2")))
    with pytest.raises(InvalidRequest) as refused:
        AppriseNotifier([f"slack://{SECRET}"])
    assert SECRET not in caplog.text + str(refused.value)
    assert "127.0.0.1" not in caplog.text


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        ([], "needs a URL"),
        (["pigeon://loft"], r"URL 1 \(pigeon\) is none that apprise knows"),
        (["json://127.0.0.1:1/", "ops@example.com"], r"URL 2 \(no scheme\)"),
        (["slack://nobody"], r"URL 1 \(slack\)"),
        (["https://hooks.example.com/hook"], r"URL 1 \(https\)"),
        ([""], r"URL 1 \(no scheme\)"),
    ],
)
def test_what_is_no_channel_is_refused_by_its_place_and_scheme(urls, said):
    with pytest.raises(InvalidRequest, match=said):
        AppriseNotifier(urls)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(timeout_s):
    with pytest.raises(InvalidRequest, match="timeout_s must be above 0"):
        AppriseNotifier(["json://127.0.0.1:1/"], timeout_s)


def test_slack_itself_is_known_by_its_own_addresses():
    urls = ["https://hooks.slack.com/services/T0AAA/B0BBB/cCc", "https://hooks.slack-gov.com/services/T0AAA/B0BBB/cCc"]
    assert AppriseNotifier(urls).channels == ("slack", "slack")
