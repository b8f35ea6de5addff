"""HAProxy rules that Ray Serve has no settings for: time for a request's head, problem documents, and TLS.

They are appended to the last line of Serve's `defaults` section, the balance algorithm, whose text Serve takes from a
variable. A test renders the template of the installed Serve with them and has HAProxy check it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM"

_HEAD_S = 10  # without it, whoever sends a byte of a header now and then holds a connection for ever
_DETAILS = {
    502: "the gateway of this request ended before it answered: the request may have been done",
    503: "no gateway is there: the request was not done",
    504: "the gateway of this request did not answer in time: the request may have been done",
}


@dataclass(frozen=True, slots=True)
class TlsFront:
    """A listener with TLS before Serve's own, which then is on the loopback interface only.

    `certificate` is a PEM file with the chain and the key.
    """

    host: str
    port: int
    certificate: Path
    plain_port: int


def balance_with_rules(tls: TlsFront | None = None) -> str:
    """The value of `VARIABLE`."""
    lines = ["leastconn", f"    timeout http-request {_HEAD_S}s", *map(_problem_rule, _DETAILS)]
    if tls is not None:
        host = f"[{tls.host}]" if ":" in tls.host else tls.host
        lines += [
            "listen optagent_tls",
            f'    bind {host}:{tls.port} ssl crt "{tls.certificate}" ssl-min-ver TLSv1.2 alpn http/1.1',
            "    http-request set-header X-Forwarded-Proto https",
            f"    server plain 127.0.0.1:{tls.plain_port}",
        ]
    return "\n".join(lines)


def _problem_rule(code: int) -> str:
    """Serve answers these codes with a 500 of its own, from which a client cannot tell that it may try again."""
    document = {"type": "urn:optagent:unavailable", "title": "Unavailable", "status": code, "detail": _DETAILS[code]}
    text = json.dumps(document, separators=(",", ":")).replace('"', '\\"')
    return f'    http-error status {code} content-type "application/problem+json" string "{text}" hdr Retry-After 2'
