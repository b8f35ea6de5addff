"""Audit files: what is kept of the audit log outside its store, with the keys that sign it."""

from dataclasses import dataclass
from pathlib import Path

from optagent.adapters.state.audit.anchor_file import AuditAnchorFile
from optagent.adapters.state.audit.archive import BATCH, AuditArchive
from optagent.adapters.state.audit.key_file import AuditKeyFile
from optagent.domain.audit_anchor import AuditTrust


@dataclass(frozen=True, slots=True)
class AuditFiles:
    """The archive and the anchor of a folder, and the file of the keys."""

    archive: AuditArchive
    anchor: AuditAnchorFile
    keys: AuditKeyFile

    def trust(self) -> AuditTrust:
        """The means to verify the log with. Blocks."""
        return AuditTrust(self.anchor.read(), self.keys.read())


def audit_files(folder: Path, key_file: Path, batch: int = BATCH) -> AuditFiles:
    return AuditFiles(AuditArchive(folder, batch), AuditAnchorFile(folder), AuditKeyFile(key_file))
