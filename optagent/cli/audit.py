"""Audit commands: list, verify and export the audit log, and replay decisions."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optagent import terminal
from optagent.cli.app import OUT, AsJson, group, load_settings, print_json, with_agent
from optagent.codec import plain
from optagent.domain.audit_search import AuditSearch
from optagent.domain.instant import time_text
from optagent.domain.time_range import parse_time_range
from optagent.errors import InvalidRequest

if TYPE_CHECKING:
    from optagent.domain.audit import AuditRecord
    from optagent.domain.audit_chain import ChainReport
    from optagent.domain.audit_signature import AuditKeyring
    from optagent.domain.mixture_status import MixtureReplay
    from optagent.loop.gates.replay import GateReplay
    from optagent.loop.rollout.replay import RolloutReplay

audit = group("audit", "See who did what, and that the log of it is whole.")

Noted = Annotated[
    str | None, typer.Option(help="The head of an earlier verification that must still hold: SEQUENCE:DIGEST.")
]


@audit.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="Go on before this number of an earlier list.")] = None,
    actor: Annotated[str, typer.Option(help="Part of the name of who acted.")] = "",
    action: Annotated[str, typer.Option(help="Part of the action, such as rollout.")] = "",
    target: Annotated[str, typer.Option(help="Part of the id of a model, a process, a rollout.")] = "",
    time_range: Annotated[str | None, typer.Option("--range", help="90m, 24h, 7d, or START..END.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was done and what was refused, the newest first; words and a time range narrow it down."""
    since, until = None, None
    if time_range is not None:
        window = parse_time_range(time_range, time.time())
        since, until = window.start, window.end
    search = AuditSearch(actor, action, target, since, until)
    records: list[AuditRecord] = with_agent(lambda agent: agent.audit_records(limit, before, search))
    if as_json:
        return print_json([plain(record) for record in records])
    rows = [
        [str(record.sequence), time_text(record.at), record.actor, record.action, record.target, record.outcome]
        for record in records
    ]
    terminal.show_table(OUT, ["number", "time", "who", "action", "target", "outcome"], rows)


@audit.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="An exported log, which is verified alone.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="With --file: the keys that its signatures are of.")] = None,
    noted: Noted = None,
    as_json: AsJson = False,
) -> None:
    """Verify that no entry was altered, removed, moved or forged; exit with 1 where one was."""
    if file is None:
        if key_file is not None:
            raise InvalidRequest("--key-file goes with --file: the log itself has OPT_AGENT_AUDIT_KEY_FILE")
        report: ChainReport = with_agent(lambda agent: agent.verify_audit(noted))
    else:
        from optagent.bootstrap.parts import audit_keyring

        keyring = None if key_file is None else audit_keyring(load_settings(), key_file)
        report = _verify_file(file, noted, keyring)
    print_json(plain(report)) if as_json else _show(report)
    if not report.is_whole:
        raise typer.Exit(1)


@audit.command()
def export(file: Annotated[Path, typer.Argument(help="The new file.")], as_json: AsJson = False) -> None:
    """Write the log to a new file of JSON lines that can be verified alone."""
    report: ChainReport = with_agent(lambda agent: agent.export_audit(file))
    print_json(plain(report)) if as_json else _show(report)
    if not report.is_whole:
        raise typer.Exit(1)


@audit.command("new-key")
def new_key() -> None:
    """Add a key, which signs the log from now on; earlier links stay valid by the older keys.

    Copy the file of keys to all machines of the deployment. Programs read it again when they need to.
    """
    from optagent.bootstrap.parts import add_audit_key

    keyring = add_audit_key(load_settings())
    OUT.print(f"key {keyring.ids[-1]} signs from now on, after {len(keyring.ids) - 1} older keys", highlight=False)


@audit.command()
def replay(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ROLLOUT|PROCESS|MODEL|SEQUENCE",
            help="A rollout, an optimization, the model of a mixture, or the number of an entry.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Decide again what a rollout, an optimization or a mixture came to; exit with 1 where it comes out otherwise.

    A rollout is decided by its looks and by what people did, an optimization at its gates, by the rows, the bundles and
    the seed of then. Rows or bundles that have changed since are named: of these nothing can be decided again. The
    weights of a model's mixture are learned again from the archived rows.
    """
    replayed: RolloutReplay | GateReplay | MixtureReplay = with_agent(lambda agent: agent.replay_decision(which))
    if as_json:
        print_json({**plain(replayed), "is_same": replayed.is_same})
    else:
        for line in _replay_lines(replayed):
            OUT.print(line, highlight=False, markup=False, soft_wrap=True)
    if not replayed.is_same:
        raise typer.Exit(1)


def _replay_lines(replayed: "RolloutReplay | GateReplay | MixtureReplay") -> list[str]:
    from optagent.domain.mixture_status import MixtureReplay
    from optagent.loop.rollout.replay import RolloutReplay

    if isinstance(replayed, MixtureReplay):
        return _mixture_lines(replayed)
    return _rollout_lines(replayed) if isinstance(replayed, RolloutReplay) else _gate_lines(replayed)


def _rollout_lines(replayed: "RolloutReplay") -> list[str]:
    outcome = "comes out the same" if replayed.is_same else f"differs at {replayed.difference}"
    counts = f"{replayed.looks} looks and {replayed.transitions} transitions are the same"
    return [f"{replayed.rollout_id} {outcome} ({counts})"]


def _mixture_lines(replayed: "MixtureReplay") -> list[str]:
    outcome = "comes out the same" if replayed.is_same else f"differs at {replayed.difference}"
    counts = (
        f"{replayed.rows:,} rows in {replayed.passes:,} passes, {replayed.digests:,} digests of the log are the same"
    )
    return [f"the mixture of {replayed.model_id} {outcome} ({counts})"]


def _gate_lines(replayed: "GateReplay") -> list[str]:
    subject = f"{replayed.process_id}: {replayed.model_id} version {replayed.version}, {replayed.outcome}"
    lines = [f"{subject}, comes out the same" if replayed.is_same else f"{subject}, is not shown to come out the same"]
    lines += [f"changed: {change}" for change in replayed.changed]
    lines += [] if replayed.difference is None else [f"differs at {replayed.difference}"]
    lines += [f"the same, bit for bit: {', '.join(replayed.same)}"] if replayed.same else []
    lines += [f"not computed again: {', '.join(replayed.not_computed)}"] if replayed.not_computed else []
    return [*lines, *(f"library: {library}" for library in replayed.libraries)]


def _verify_file(file: Path, noted: str | None, keyring: "AuditKeyring | None") -> "ChainReport":
    from optagent.domain.audit import parse_point
    from optagent.domain.audit_anchor import AuditTrust
    from optagent.domain.audit_chain import verify_lines

    point = None if noted is None else parse_point(noted)
    try:
        with file.open(encoding="utf-8", newline="\n", errors="backslashreplace") as lines:
            return verify_lines(lines, point, AuditTrust(None, keyring))
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from None


def _show(report: "ChainReport") -> None:
    range_text = "" if report.first is None else f", {report.first} to {report.last} hold"
    lines = [f"{report.links} links were read{range_text}"]
    if report.is_trimmed:
        lines.append(f"links up to {report.start.sequence} were dropped before: verified from the oldest that is kept")
    if report.signed_from is None:
        lines.append("no link is signed")
    else:
        state = "were checked" if report.has_keys else "were not checked: give their keys by --key-file"
        lines.append(f"signed from link {report.signed_from} on; signatures {state}")
    lines.append(f"head {report.head}" if report.is_whole else f"broken at {report.broken}")
    for line in lines:
        OUT.print(line, highlight=False, markup=False, soft_wrap=True)
