"""Audit key file: the keys that sign the audit log, in a file that is made at first use.

The file holds 64 hexadecimal digits a line, the oldest key first; the last one signs. Every program that writes into
one log, on whatever machine, needs the same file.
"""

import logging
import stat
from pathlib import Path

from optagent.adapters.state.archive.durable_files import create_file, replace_file
from optagent.domain.audit_signature import AuditKeyring, new_secret, parse_keyring
from optagent.errors import InvalidRequest, Unavailable

_OTHERS = stat.S_IRWXO | stat.S_IWGRP
_log = logging.getLogger("optagent.audit")


class AuditKeyFile:
    """The keys of a file. Errors name the file; they never show what it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> AuditKeyring:
        """The keys of the file, none where there is no file.

        Raises Unavailable where it cannot be read, holds no keys, or is open to others than owner and group.
        """
        try:
            mode = self.path.stat().st_mode
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return AuditKeyring()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"OPT_AGENT_AUDIT_KEY_FILE: {self.path} cannot be read: {error}") from None
        if mode & _OTHERS:
            raise Unavailable(
                f"OPT_AGENT_AUDIT_KEY_FILE: {self.path} has mode {stat.S_IMODE(mode):04o}, and others must not read or "
                f"change it: chmod 600 {self.path}"
            )
        if mode & stat.S_IRGRP:
            _log.warning("the audit keys in %s can be read by its group", self.path)
        try:
            return parse_keyring(text)
        except InvalidRequest as error:
            raise Unavailable(f"OPT_AGENT_AUDIT_KEY_FILE: {self.path}: {error}") from None

    def read_or_create(self) -> AuditKeyring:
        """The keys of the file, which is made with a new key where there is none; of two programs one makes it."""
        keyring = self.read()
        if keyring.keys:
            return keyring
        try:
            create_file(self.path, f"{new_secret()}\n".encode(), mode=0o600)
        except OSError as error:
            raise Unavailable(f"OPT_AGENT_AUDIT_KEY_FILE: {self.path} cannot be made: {error.strerror}") from None
        return self.read()

    def add_key(self) -> AuditKeyring:
        """Adds a new key, which signs from now on; links that older keys have signed can still be verified."""
        if not self.read().keys:
            return self.read_or_create()
        text = self.path.read_text(encoding="utf-8")
        try:
            replace_file(self.path, f"{text.rstrip()}\n{new_secret()}\n".encode(), mode=0o600)
        except OSError as error:
            raise Unavailable(f"OPT_AGENT_AUDIT_KEY_FILE: {self.path} cannot be replaced: {error.strerror}") from None
        return self.read()
