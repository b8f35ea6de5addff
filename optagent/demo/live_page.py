"""Live page of a demo: a server of the board on the loopback interface, whose page becomes the report at the end."""

import logging
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

_log = logging.getLogger("optagent.demo")
_HOSTS = ("127.0.0.1", "localhost")
_POLLED_WITHIN_S = 3.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_SCRIPT = Path(__file__).parent / "page" / "live.js"

Render = Callable[[str], str]
"""The text of a template of the board."""


@dataclass
class LivePage:
    """The page's content and visits; `report` is empty until the demo has ended."""

    render: Render
    report: str = ""
    url: str = ""
    polled_at: float = float("-inf")
    taken: threading.Event = field(default_factory=threading.Event)

    def show_report(self, page: str, wait_s: float = 5.0) -> None:
        """Lets open pages become the report; waits for one that was open a moment ago, so that it can take it."""
        self.report = page
        if time.monotonic() - self.polled_at < _POLLED_WITHIN_S:
            self.taken.wait(wait_s)


@contextmanager
def serve_live_page(render: Render) -> Iterator[LivePage]:
    """The page at a free port of 127.0.0.1 until the context ends."""
    page = LivePage(render)
    server = _PageServer(("127.0.0.1", 0), type("_OfPage", (_PageRequest,), {"page": page}))
    page.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, args=(0.1,), name="demo-page", daemon=True).start()
    try:
        yield page
    finally:
        server.shutdown()
        server.server_close()


def open_browser(url: str) -> bool:
    """Opens the page in the user's browser; False, without effect, where there is no terminal or no display."""
    has_display = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if not sys.stdout.isatty() or not has_display:
        return False
    threading.Thread(target=webbrowser.open, args=(url,), name="browser", daemon=True).start()
    return True


class _PageServer(ThreadingHTTPServer):
    """Server of one thread a request; a browser that goes away, or sends nonsense, is no news for the terminal."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a request from %s failed", client_address, exc_info=True)


class _PageRequest(BaseHTTPRequestHandler):
    """One request; `page` is set by a class made for each server."""

    page: LivePage

    def do_GET(self) -> None:
        # Another site whose name leads to this machine is not shown anything.
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _HOSTS:
            return self._send(403, "text/plain", "this page is for 127.0.0.1 only\n")
        path = urlsplit(self.path).path
        if path == "/":
            return self._send(200, "text/html", self.page.render("live.html"))
        if path == "/live.js":
            return self._send(200, "text/javascript", _SCRIPT.read_text(encoding="utf-8"))
        if path == "/board":
            return self._send_board()
        if path == "/report" and self.page.report:
            self._send(200, "text/html", self.page.report, policy="")
            return self.page.taken.set()
        return self._send(404, "text/plain", "there is no such page\n")

    def _send_board(self) -> None:
        self.page.polled_at = time.monotonic()
        headers = {"Demo-Report": "/report"} if self.page.report else {}
        self._send(200, "text/html", "" if self.page.report else self.page.render("board.html"), headers)

    def _send(
        self, code: int, kind: str, text: str, headers: dict[str, str] | None = None, policy: str = _POLICY
    ) -> None:
        body = text.encode("utf-8", "replace")
        own = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body)), **(headers or {})}
        safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        self.send_response(code)
        for name, value in {**own, **safe, **({"Content-Security-Policy": policy} if policy else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: the terminal is the demo's."""
