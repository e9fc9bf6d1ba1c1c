"""`connaudit inspect PID`: one session, and the process, thread and line at its other end if they are on this host."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from connaudit.attribution.evidence import Client, Evidence
from connaudit.cli.auditing import run
from connaudit.cli.flags import click_option, given
from connaudit.cli.helpful import Helpful
from connaudit.cli.planning import Invocation, set_up
from connaudit.cli.settings import SETTINGS, Setting, Sources
from connaudit.diagnostics import diagnostic
from connaudit.diagnostics.inspect import Options
from connaudit.report import Report
from connaudit.snapshot import Session, Snapshot, State

STACK = Setting("stack", ("--stack",), "show what the client's thread does, by py-spy", switch=True)
FROM_A_FILE = Client(why_not="this is a saved sample: its processes are not looked for")

Gather = Callable[[Snapshot, Session], Evidence]


@click.pass_context
def _inspect(context: click.Context, /, pid: int, **flags: Any) -> int:
    call = Invocation("inspect", (), given(context, flags), os.environ)
    stack = Sources("inspect", call.given, call.environment).effective(STACK).value
    saved = bool(set_up(call).settings["from"])
    asked = diagnostic("inspect")

    def look(snapshot: Snapshot, options: Options) -> Report:
        """Judge the snapshot together with what this host tells right after it was taken."""
        session = next((s for s in snapshot.sessions if s.id == pid), None)
        evidence = Evidence(FROM_A_FILE) if saved or session is None else gathered(snapshot, session, stack=stack)
        told: Report = asked.run(snapshot, replace(options, pid=pid, evidence=evidence))
        return told

    return run(call, [replace(asked, run=look)])


def gathered(snapshot: Snapshot, session: Session, *, stack: bool) -> Evidence:
    """Return what this host tells of a session's client; its stack only if that is asked for."""
    from connaudit.attribution.django import ident
    from connaudit.attribution.process import client_of
    from connaudit.attribution.stack import stack_of

    client = client_of(session, snapshot.address)
    if not stack:
        return Evidence(client)
    busy = session.state in (State.ACTIVE, State.FASTPATH)
    return Evidence(client, stack_of(client.processes, ident(session.query), busy=busy))


command = Helpful(
    "inspect",
    params=[
        click.Argument(["pid"], type=int, metavar="PID"),
        *(click_option(setting) for setting in (STACK, *SETTINGS)),
    ],
    callback=_inspect,
    help=f"{diagnostic('inspect').help.strip()}\n\nThe target is named by -T, or by what every command reads.",
)
