"""Everything about one session: who it is, what it does and holds, whom it waits for and holds up, whose code it is.

What the server tells is told as such. Code tags are what a comment in the statement says; the client's process is seen
where it runs on this host; the thread is exact where Django's own SQL names it, and called a guess where it is one.
With --stack, py-spy (if it is installed) shows what that thread is doing, file and line.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from connaudit import options as opt
from connaudit.attribution import Confidence
from connaudit.attribution.django import Ident, ident, shape
from connaudit.attribution.evidence import Client, Evidence, Frame, Stack, Thread
from connaudit.attribution.tags import Tags, described, tags
from connaudit.dataclass import dataclass
from connaudit.diagnostics.attributed import too_many
from connaudit.diagnostics.horizon import holds_back, of_walsender
from connaudit.diagnostics.idle_tx import holds
from connaudit.diagnostics.remedies import QUEUES, ending_prepared, guard, lasting, opening, releasing
from connaudit.diagnostics.sessions import shown_sql
from connaudit.diagnostics.source import source
from connaudit.diagnostics.waits import PREPARED, edges, in_the_way, reached, waits
from connaudit.report import Column, Report, Show, Status, Table, Unit
from connaudit.snapshot import Fact, Process, Server, Session, Snapshot, State
from connaudit.thresholds import Metric as Judged
from connaudit.units import format_duration, plural

NEEDS = frozenset({Fact.SESSIONS})
WANTS = frozenset({Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES, Fact.LOCKS, Fact.GUARDS, Fact.HORIZON})
METRICS: tuple[Judged, ...] = ()
CODES: tuple[str, ...] = ()
WARNING: tuple[str, ...] = ()
CRITICAL: tuple[str, ...] = ()
SERVER = "the server"
MOST_FRAMES = 12  # of one thread
MOST_NAMED = 10  # sessions in one line
MOST_CULPRITS = 3  # who are spoken of, of those that it waits for


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(opt.Options):
    """Which session is looked at, and what was found out beside the server."""

    pid: int = 0
    evidence: Evidence = Evidence()


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the report."""

    section: str
    fact: str
    value: str
    known_by: str = SERVER
    seconds: float | None = None
    count: int | None = None


COLUMNS = (
    Column("section", "", show=Show.ALWAYS),
    Column("fact", "FACT", show=Show.ALWAYS),
    Column("value", "VALUE", Unit.SQL, Show.ALWAYS),
    Column("known_by", "KNOWN BY", show=Show.ROOMY),
    Column("seconds", "SECONDS", Unit.SECONDS, Show.DATA),
    Column("count", "COUNT", Unit.COUNT, Show.DATA),
)
SUMMARY = (
    Column("pid", "PID", Unit.ID),
    Column("found", "FOUND", Unit.FLAG),
    Column("state", "STATE"),
    Column("state_seconds", "SINCE", Unit.SECONDS),
    Column("transaction_seconds", "TX AGE", Unit.SECONDS),
    Column("user", "USER"),
    Column("database", "DB"),
    Column("app", "APP"),
    Column("client", "CLIENT"),
    Column("client_port", "PORT", Unit.ID),
    Column("blocked_by", "BLOCKED BY", Unit.IDS),
    Column("roots", "ROOTS", Unit.IDS),
    Column("blocks", "BLOCKS", Unit.IDS),
    Column("client_pids", "CLIENT PIDS", Unit.IDS),
    Column("thread", "THREAD", Unit.ID),
    Column("place", "PLACE"),
    Column("place_known_by", "KNOWN BY"),
    Column("sql", "QUERY", Unit.SQL),
)


def run(snapshot: Snapshot, options: Options) -> Report:
    """Tell about one session."""
    session = next((s for s in snapshot.sessions if s.id == options.pid), None)
    if session is None:
        return Report(
            check="inspect",
            source=source(snapshot),
            status=Status.UNKNOWN,
            headline=f"there is no session {options.pid}: it has ended, or never was on this server",
            summary=dict.fromkeys(column.key for column in SUMMARY) | {"pid": options.pid, "found": False},
            table=Table("facts", COLUMNS),
            notes=snapshot.notes,
        )
    scene = Scene(snapshot, session, options)
    rows = tuple((t.section, t.fact, t.value, t.known_by, t.seconds, t.count) for t in _told(scene))
    return Report(
        check="inspect",
        source=source(snapshot),
        status=Status.OK,
        headline=_headline(session),
        details=tuple(_details(scene)),
        summary=_summary(scene),
        table=Table("facts", COLUMNS, rows, len(rows)),
        notes=snapshot.notes,
    )


@dataclass(frozen=True, slots=True)
class Scene:
    """One session with all that is known of it."""

    snapshot: Snapshot
    session: Session
    options: Options

    @property
    def evidence(self) -> Evidence:
        """Return what was found out beside the server."""
        return self.options.evidence

    @property
    def behind(self) -> frozenset[int] | None:
        """Return who waits behind it; None if that is not to be known."""
        return waits(self.snapshot).behind(self.session.id)

    @property
    def roots(self) -> tuple[int, ...]:
        """Return who is at the root of its wait: those that it waits for, directly or not, and that wait for nobody."""
        waiting = {s.id for s in self.snapshot.sessions if s.wait}
        return tuple(sorted(reached(self.session.id, edges(self.snapshot.sessions)) - waiting))

    @property
    def tags(self) -> Tags | None:
        """Return what comments in its statement say."""
        return tags(self.session.query, self.snapshot.server.engine)

    @property
    def ident(self) -> Ident | None:
        """Return the thread that its statement names."""
        return ident(self.session.query)

    @property
    def sql(self) -> str | None:
        """Return its statement as far as it may be shown."""
        return shown_sql(self.session, self.options.sql, self.snapshot.server.engine)


def _headline(session: Session) -> str:
    state = session.state.value if session.state else "there, its state hidden"
    since = f" for {format_duration(session.state_age)}" if session.state_age is not None else ""
    who = " ".join(part for part in (session.user, f"on {session.database}" if session.database else None) if part)
    app = f", {session.application}" if session.application else ""
    return f"{session.id} is {state}{since}" + (f": {who}{app}" if who or app else "")


def _details(scene: Scene) -> Iterator[str]:
    """Yield the sentences below the headline: what matters most, and what to do."""
    session, behind = scene.session, scene.behind
    if scene.sql:
        running = session.state in (State.ACTIVE, State.FASTPATH)
        yield f"{'runs' if running else 'last ran'}: {scene.sql}"
    if session.wait:
        yield _waiting(session)
    if behind:
        yield f"{plural(len(behind), 'session')} {'waits' if len(behind) == 1 else 'wait'} behind it: {_ids(behind)}"
    yield from of_walsender(scene.snapshot, session.id)
    yield from _about_client(scene.evidence.client)
    code = _code(scene)
    if code:
        yield f"code: {code[0]} ({code[1]})"
    if session.wait:
        yield from _culprits(scene)
    elif behind or session.open_transaction or session.waits_for_client or session.advisory_locks:
        yield from _remedies(session, scene.snapshot)


def _remedies(session: Session, snapshot: Snapshot) -> Iterator[str]:
    yield releasing(session, snapshot.server)
    more = lasting(session, snapshot)
    if more:
        yield more


def _culprits(scene: Scene) -> Iterator[str]:
    """Yield who is at the root of its wait, and what is to be done about that one rather than about itself."""
    for root in scene.roots[:MOST_CULPRITS]:
        session = next((s for s in scene.snapshot.sessions if s.id == root), None)
        if root == PREPARED:
            there = in_the_way(scene.snapshot)
            name = f"prepared transaction {there.only.id}" if there.only else "a prepared transaction"
            yield f"at the root of its wait: {name}; {ending_prepared(there)}"
        elif session is None:
            yield f"at the root of its wait: {root}, which has ended meanwhile"
        else:
            yield f"at the root of its wait: {_headline(session)}"
            yield from _remedies(session, scene.snapshot)
    wait = scene.session.wait
    if scene.behind and wait and wait.lock in QUEUES:
        way = opening(scene.session, len(scene.behind), scene.snapshot)
        if way:
            yield way


def _waiting(session: Session) -> str:
    wait = session.wait
    if wait is None:
        return ""
    since = f" for {format_duration(wait.age)}" if wait.age is not None else ""
    lock = f"{wait.lock} lock" if wait.lock else "lock"
    what = f"waits{since} for a {lock}" + (f" on {wait.relation}" if wait.relation else "")
    if wait.blocked_by is None:
        may = f"; {_ids(wait.candidates)} may hold it, a guess" if wait.candidates else ""
        return f"{what}; who is in its way is not told{may}"
    return f"{what}, behind {_ids(wait.blocked_by)}" if wait.blocked_by else what


def _ids(ids: Iterable[int]) -> str:
    named = ["a prepared transaction" if one == PREPARED else str(one) for one in sorted(ids)]
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    return ", ".join(named[:MOST_NAMED] + more)


def _about_client(client: Client) -> Iterator[str]:
    """Yield what the client's process gives away."""
    if client.is_shared:
        pids = ", ".join(str(process.pid) for process in client.processes)
        yield f"processes {pids} own this one connection: it was inherited through a fork and must be closed before it"
    for process in client.processes:
        if process.is_proxy:
            yield f"process {process.pid} is {process.name}: the client is behind it, and has to be looked for there"
        elif process.holds_too_many:
            yield too_many(process)


def _code(scene: Scene) -> tuple[str, str] | None:
    """Return the place in the code that holds the session, and how that is known; the surest of what there is."""
    stack, found = scene.evidence.stack, scene.tags
    if stack and stack.confidence is Confidence.THREAD:
        return _place(stack.threads[0]), stack.confidence.words
    if found and found.code:
        return found.code, Confidence.TAGS.words
    if stack and stack.confidence:
        return _place(stack.threads[0]), stack.confidence.words
    return None


def _place(thread: Thread) -> str:
    """Return the innermost call in code of the application, or the innermost of all."""
    own = next((frame for frame in thread.frames if frame.is_own), None)
    frame = own or next(iter(thread.frames), Frame("?", "?", 0))
    return f"{frame.function.rpartition('.')[2]} ({frame.file}:{frame.line})"


def _summary(scene: Scene) -> dict[str, Any]:
    session, code = scene.session, _code(scene)
    return {
        "pid": session.id,
        "found": True,
        "state": session.state.value if session.state else None,
        "state_seconds": session.state_age,
        "transaction_seconds": session.transaction.age if session.transaction else None,
        "user": session.user,
        "database": session.database,
        "app": session.application,
        "client": session.client,
        "client_port": session.client_port,
        "blocked_by": list(session.wait.blocked_by or ()) if session.wait else None,
        "roots": list(scene.roots) if session.wait else None,
        "blocks": None if scene.behind is None else sorted(scene.behind),
        "client_pids": [process.pid for process in scene.evidence.client.processes],
        "thread": scene.ident.thread if scene.ident else None,
        "place": code[0] if code else None,
        "place_known_by": code[1] if code else None,
        "sql": scene.sql,
    }


def _told(scene: Scene) -> Iterator[Told]:
    """Yield all that is known, section by section."""
    yield from _of_identity(scene.session)
    yield from _of_state(scene.session)
    yield from _of_transaction(scene.session, scene.snapshot.server)
    yield from _of_waits(scene)
    yield from _of_code(scene)
    yield from _of_client(scene.evidence.client)
    yield from _of_stack(scene.evidence.stack)
    yield from _of_guards(scene)
    yield from (Told("attributes", key, value, Confidence.APPLICATION.words) for key, value in scene.session.attributes)


def _of_identity(s: Session) -> Iterator[Told]:
    rights = " (superuser)" if s.superuser else ""
    at = f":{s.client_port}" if s.client_port else ""
    texts = (
        ("kind", s.backend or s.kind.value, SERVER),
        ("user", f"{s.user}{rights}" if s.user else None, SERVER),
        ("database", s.database, SERVER),
        ("application", s.application, Confidence.APPLICATION.words),
        ("client", f"{s.client}{at}" if s.client else None, Confidence.HOST.words),
        ("encrypted", None if s.encrypted is None else "yes" if s.encrypted else "no", SERVER),
        ("connected at", s.started_at, SERVER),
    )
    yield from (Told("who", fact, value, known_by) for fact, value, known_by in texts if value is not None)
    yield from _age("who", "connected for", s.connection_age)


def _of_state(s: Session) -> Iterator[Told]:
    yield Told("doing", "state", s.state.value if s.state else "hidden from this role")
    yield from _age("doing", "in this state for", s.state_age, "at most " if s.state_age_is_bound else "")
    if s.query_age is not None:
        yield Told("doing", "statement began", f"{format_duration(s.query_age)} ago", seconds=s.query_age)
    if s.waits_for:
        yield Told("doing", "waits for", s.waits_for + (", its client" if s.waits_for_client else ""))
    if s.query_id is not None:
        yield Told("doing", "query id", str(s.query_id))
    habit = shape(s)
    if habit:
        yield Told("doing", "that means", habit, "a guess: who sends such a last statement")


def _of_transaction(s: Session, server: Server) -> Iterator[Told]:
    if s.in_transaction is not None and not s.in_transaction:
        yield Told("transaction", "open", "no")
    held = s.transaction
    if held:
        yield from _age("transaction", "open for", held.age)
        yield from _text("transaction", "holds", holds(held))
        yield from _text("transaction", "isolation", held.isolation)
        yield from _count("transaction", "relation locks", held.locks)
        yield from _count("transaction", "rows locked", held.rows_locked)
        yield from _count("transaction", "rows changed", held.rows_modified)
        back = holds_back(held, server)
        if back:
            yield Told("transaction", "holds back", back, count=held.horizon_age)
    if s.advisory_locks:
        yield from _count("transaction", "advisory locks", s.advisory_locks)


def _of_waits(scene: Scene) -> Iterator[Told]:
    wait, behind = scene.session.wait, scene.behind
    if wait:
        yield from _text("locks", "waits for", " ".join(part for part in (wait.mode, wait.lock, wait.relation) if part))
        yield from _age("locks", "waits since", wait.age)
        if wait.blocked_by is not None:
            yield from _text("locks", "behind", _ids(wait.blocked_by) or "nobody any more")
            yield from _text("locks", "root of that", _ids(scene.roots))
        elif wait.candidates:
            yield Told("locks", "behind one of", _ids(wait.candidates), "a guess: the server does not tell")
    if behind is None:
        yield Told("locks", "holds up", "not told")
    else:
        yield Told("locks", "holds up", _ids(behind) or "nobody", count=len(behind))


def _of_code(scene: Scene) -> Iterator[Told]:
    found, named = scene.tags, scene.ident
    for name, value in described(found) if found else ():
        yield Told("code", name, value, Confidence.TAGS.words)
    if named:
        task = ", in an asyncio task: its stack shows the event loop" if named.is_task else ""
        yield Told("code", "thread", f"{named.thread}, in the name of a {named.named}{task}", Confidence.THREAD.words)


def _of_client(client: Client) -> Iterator[Told]:
    known_by = client.confidence.words if client.confidence else "this host"
    yield from _text("client", "socket", client.socket, "this host")
    yield from _text("client", "not found", client.why_not, "this host")
    for process in client.processes:
        yield from _of_process(process, known_by)


def _of_process(process: Process, known_by: str) -> Iterator[Told]:
    whose = f" of user {process.user}" if process.user else ""
    parent = f", child of {process.parent}" if process.parent else ""
    yield Told("client", "process", f"{process.pid}{whose}{parent}", known_by)
    yield from _text("client", "command", process.command or process.name, known_by)
    yield from _text("client", "container", process.container, known_by)
    if process.threads is not None and process.connections is not None:
        held = f"{plural(process.connections, 'connection')} to this server, {plural(process.threads, 'thread')}"
        yield Told("client", "holds", held, known_by, count=process.connections)


def _of_stack(stack: Stack | None) -> Iterator[Told]:
    """Yield the stack of the one thread; of several, where each is."""
    if stack is None:
        return
    yield from _text("stack", "none", stack.why_not, "py-spy")
    one = "one of these threads" if len(stack.threads) > 1 else "this thread, or one that had its number and has ended"
    sure = stack.confidence.words if stack.confidence else f"a guess: {one}"
    for thread in stack.threads:
        if stack.confidence:
            name = f"{thread.name or 'thread'} of process {thread.process}"
            yield Told("stack", "thread", name, sure)
            yield from (Told("stack", "in", str(frame), sure) for frame in thread.frames[:MOST_FRAMES])
        else:
            yield Told("stack", thread.name or str(thread.ident), _place(thread), sure)


def _of_guards(scene: Scene) -> Iterator[Told]:
    """Yield the server's own limits as they hold for this role in this database."""
    for each in scene.snapshot.guards:
        held = guard(scene.snapshot, each.name, scene.session.user, scene.session.database)
        if held and not each.name.endswith("_count"):
            value, where = held
            text = format_duration(value) if value > 0 else "off"
            yield Told("guards", each.name, f"{text} ({where})", seconds=value)


def _age(section: str, fact: str, seconds: float | None, before: str = "") -> Iterator[Told]:
    if seconds is not None:
        yield Told(section, fact, before + format_duration(seconds), seconds=seconds)


def _count(section: str, fact: str, count: int | None) -> Iterator[Told]:
    if count is not None:
        yield Told(section, fact, str(count), count=count)


def _text(section: str, fact: str, value: str | None, known_by: str = SERVER) -> Iterator[Told]:
    if value:
        yield Told(section, fact, value, known_by)
