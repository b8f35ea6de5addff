"""Server certificate of the HTTP API: checks that it can be used, and joins it with its key in one private file."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from optagent.errors import InvalidRequest
from optagent.settings import PREFIX, Settings

if TYPE_CHECKING:
    from optagent.adapters.cluster.ray_serving import TlsFiles


def check_certificate(settings: Settings) -> None:
    """Raises InvalidRequest for files that no server can use, and for a certificate on a cluster that is not ours.

    There, Serve's own port has to be open to all nodes, and would speak without TLS beside the one with it.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None:
        return
    if settings.ray_address is not None:
        raise InvalidRequest(
            f"{PREFIX}TLS_CERTIFICATE_FILE is for `optagent up` without {PREFIX}RAY_ADDRESS: on a cluster of your own,"
            " let the load balancer before it speak TLS"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_refuse_passphrase)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{PREFIX}TLS_CERTIFICATE_FILE {certificate} with {key}: {error}") from None


def tls_files(settings: Settings, folder: Path) -> TlsFiles | None:
    """The files of the certificate, with both parts joined in a new file in `folder`; None where there is none."""
    from optagent.adapters.cluster.ray_serving import TlsFiles

    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    both = folder / "tls.pem"
    both.unlink(missing_ok=True)
    with os.fdopen(os.open(both, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(certificate.read_bytes().rstrip() + b"\n" + key.read_bytes())
    return TlsFiles(certificate, key, both)


def _refuse_passphrase() -> str:
    raise ValueError("the key needs a passphrase, which a server that starts by itself does not have")
