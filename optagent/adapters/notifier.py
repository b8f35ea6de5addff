"""Apprise notifier: sends notices over Slack, e-mail, and every other service that apprise has a URL for."""

import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlencode

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType
from apprise.plugins.slack import NotifySlack

from optagent.domain.alert import Severity
from optagent.domain.notice import Message, Notice, message_of
from optagent.errors import InvalidRequest, Unavailable
from optagent.retry import GrowingPauses

_TRIES = 3
_FIRST_PAUSE_S = 0.5
_REMEMBERED_NOTICES = 1000
_TLS_PORT = 465
_SLACK = re.compile(r"(https?://[^/?#@\s]+/services)/([A-Za-z0-9]+)/([A-Za-z0-9]+)/([A-Za-z0-9]+)/?")
_SLACK_ITSELF = re.compile(r"https?://hooks\.slack(-gov)?\.com/", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}(?=://)")
_STATUS = re.compile(r"error=(\d{3})\b")
_EMAIL = ("mailto", "mailtos")
_TYPES = {
    Severity.INFO: NotifyType.INFO,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}
_ASSET = AppriseAsset(
    app_id="optagent",
    app_desc="optagent",
    app_url="",
    image_url_mask="",
    image_url_logo="",
    http_redirects=False,
    interpret_emojis=False,
    interpret_escapes=False,
    allow_templates=False,
)
_CAPTURED = threading.local()


class AppriseNotifier:
    """Sends over each of `urls` separately and at the same time, with three tries each, all within `timeout_s`.

    A URL is one of apprise's, or that of a Slack incoming webhook: at Slack, or `/services/A/B/C` elsewhere.
    InvalidRequest gives the position and the scheme of a URL that is neither.
    """

    def __init__(self, urls: Sequence[str], timeout_s: float = 15.0) -> None:
        if not 0 < timeout_s < 3600:
            raise InvalidRequest(f"timeout_s must be above 0 and below 3600, got {timeout_s!r}")
        if not urls:
            raise InvalidRequest("a notifier needs a URL")
        self._timeout_s = timeout_s
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._channels = [_Channel(url, place, timeout_s / _TRIES, self._closed) for place, url in enumerate(urls, 1)]

    @property
    def channels(self) -> tuple[str, ...]:
        """The kind of each channel: slack, email, or the scheme of its URL."""
        return tuple(channel.name for channel in self._channels)

    def send(self, notices: Notice | Sequence[Notice]) -> None:
        group = (notices,) if isinstance(notices, Notice) else tuple(notices)
        if self._closed.is_set():
            raise Unavailable("the notifier is closed")
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            for channel in self._channels:
                channel.begin(group, deadline)
            errors = [error for channel in self._channels if (error := channel.end(group, deadline))]
            if not errors:
                for channel in self._channels:
                    channel.forget(group)
        if errors:
            raise Unavailable(f"not told by {', '.join(dict.fromkeys(errors))}")

    def close(self) -> None:
        self._closed.set()


class _Channel:
    """One URL. It remembers the notices that it has sent until all channels have sent them."""

    def __init__(self, url: str, place: int, try_s: float, closed: threading.Event) -> None:
        self._url = url
        self._try_s = try_s
        self._closed = closed
        self._sent: dict[tuple[str, float], None] = {}
        self._sending: threading.Thread | None = None
        self._why = ""
        scheme = _SCHEME.match(url)
        kind = scheme.group().lower() if scheme else "no scheme"
        self.name = "slack" if _SLACK.fullmatch(url) else "email" if kind in _EMAIL else kind
        if self._service() is None:
            raise InvalidRequest(f"notification URL {place} ({kind}) is none that apprise knows or can use")

    def begin(self, notices: Sequence[Notice], deadline: float) -> None:
        """Starts a thread that sends the notices not sent yet, unless the previous thread is still busy."""
        missing = [notice for notice in notices if _notice_key(notice) not in self._sent]
        if not missing or (self._sending is not None and self._sending.is_alive()):
            return
        self._why = ""
        arguments = (missing, message_of(missing), deadline)
        self._sending = threading.Thread(target=self._send, args=arguments, name=f"notify-{self.name}", daemon=True)
        self._sending.start()

    def end(self, notices: Sequence[Notice], deadline: float) -> str:
        """Waits for the thread, and returns the channel with the error; empty without one."""
        if self._sending is not None:
            self._sending.join(max(0.0, deadline - time.monotonic()))
        if all(_notice_key(notice) in self._sent for notice in notices):
            return ""
        why = self._why or "no answer in time"
        return f"{self.name} ({why})"

    def forget(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self._sent.pop(_notice_key(notice), None)

    def _send(self, notices: Sequence[Notice], message: Message, deadline: float) -> None:
        pauses = GrowingPauses(_FIRST_PAUSE_S)
        for number in range(_TRIES):
            if number:
                pause_s = next(pauses)
                if time.monotonic() + pause_s >= deadline or self._closed.wait(pause_s):
                    return
            why = self._try_once(message)
            if not why:
                self._sent.update(dict.fromkeys(map(_notice_key, notices)))
                while len(self._sent) > _REMEMBERED_NOTICES:
                    self._sent.pop(next(iter(self._sent)))
                return
            self._why = why

    def _try_once(self, message: Message) -> str:
        """Sends once; the error without any text of apprise or the server except an HTTP status, empty without one."""
        service = self._service()  # a new one each time: an old one paces itself, or may still hang
        if service is None:
            return "cannot be used"
        service.socket_connect_timeout = min(service.socket_connect_timeout, self._try_s)
        service.socket_read_timeout = min(service.socket_read_timeout, self._try_s)
        with _capture_statuses() as statuses:
            try:
                kind = _TYPES[message.severity]
                if service.notify(
                    body=message.text, title=message.title, notify_type=kind, body_format=NotifyFormat.TEXT
                ):
                    return ""
            except Exception as error:
                return type(error).__name__
        return f"HTTP {statuses[-1]}" if statuses else "cannot be reached, or refuses"

    def _service(self) -> NotifyBase | None:
        with _capture_statuses():
            slack_webhook = _SLACK.fullmatch(self._url)
            if slack_webhook is None or _SLACK_ITSELF.match(self._url):
                return Apprise.instantiate(self._url, asset=_ASSET)
            base, *tokens = slack_webhook.groups()
            webhook_tokens = dict(zip(("token_a", "token_b", "token_c"), tokens, strict=True))
            service = NotifySlack(**webhook_tokens, asset=_ASSET)  # type: ignore[no-untyped-call]
            service.webhook_url = base
            return service


def email_url(
    sender: str, recipient: str, host: str, port: int, username: str | None, password: str | None, starttls: bool
) -> str:
    """The URL of a channel that mails one recipient through one server."""
    mode = "ssl" if port == _TLS_PORT else "starttls" if starttls else "insecure"
    login = "" if username is None else f"{quote(username, safe='')}:{quote(password or '', safe='')}@"
    query = urlencode({"smtp": host, "from": sender, "to": recipient, "mode": mode, "format": "text"})
    return f"{'mailto' if mode == 'insecure' else 'mailtos'}://{login}{host}:{port}/?{query}"


def _notice_key(notice: Notice) -> tuple[str, float]:
    return notice.key, notice.at


class _Quiet(logging.Filter):
    """Drops what apprise and its HTTP client log in our threads: it names addresses, at lower levels with secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        statuses: list[str] | None = getattr(_CAPTURED, "statuses", None)
        if statuses is None:
            return True
        statuses += _STATUS.findall(record.getMessage())
        return False


for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_Quiet())


@contextmanager
def _capture_statuses() -> Iterator[list[str]]:
    """Collects the HTTP statuses that apprise logs meanwhile in this thread; nothing of that is logged."""
    outer, statuses = getattr(_CAPTURED, "statuses", None), list[str]()
    _CAPTURED.statuses = statuses
    try:
        yield statuses
    finally:
        _CAPTURED.statuses = outer
