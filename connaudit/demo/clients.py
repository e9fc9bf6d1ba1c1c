"""Who connects to the throwaway server: a little shop, in which some programs behave and others do not."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from typing import Any

import psycopg

from connaudit.dataclass import dataclass
from connaudit.demo import DemoFailed
from connaudit.demo.server import DATABASE, Server

LEAST_AGE = 2.0  # seconds in a state before anybody looks: commands are asked for what is older than one
PATIENCE = 15.0  # seconds for all to get there

SCHEMA = (
    "create role shop_web login",
    "create role shop_celery login",
    "create role metabase login",
    "create role monitor login",
    "grant pg_monitor to monitor",
    "create database shop owner shop_web",
)
TABLES = """
    create table orders_order (id serial primary key, status text not null, total numeric not null,
        note text not null, created timestamptz not null);
    create table cart_item (id serial primary key, sku text not null unique, qty integer not null);
    create table accounts_user (id serial primary key, email text not null);
    insert into orders_order (status, total, note, created)
        select 'paid', n % 90 + 10, repeat('x', 200), now() - n * interval '1 minute' from generate_series(1, 20000) n;
    insert into cart_item (sku, qty) select 'sku-' || n, 1 from generate_series(1, 100) n;
    insert into accounts_user (email) select 'user' || n || '@example.net' from generate_series(1, 100) n;
    grant select, insert, update, delete on all tables in schema public to shop_celery;
    grant usage on all sequences in schema public to shop_celery;
    grant select on all tables in schema public to metabase;
"""

USER = 'SELECT "accounts_user"."id", "accounts_user"."email" FROM "accounts_user" WHERE "accounts_user"."id" = 21'
ORDERS = 'SELECT "orders_order"."id" FROM "orders_order" WHERE "orders_order"."total" > 95'


@dataclass(frozen=True, slots=True)
class Actor:
    """Some clients that all do the same."""

    application: str
    role: str
    story: str
    statements: tuple[str, ...]  # executed one after the other
    state: str = "idle"  # what pg_stat_activity says of them then
    running: str | None = None  # begun after that, and left running
    count: int = 1
    reused: bool = False  # a pool: its connections are used again and again
    pace: float = 0.0  # seconds from one client to the next: what opens all of them at once is no leak


ACTORS = (
    Actor(
        "gunicorn: worker [shop.wsgi]",
        "shop_web",
        "web workers, their connections reused",
        (USER,),
        count=6,
        reused=True,
    ),
    Actor(
        "sqlalchemy: catalog-api",
        "shop_web",
        "a healthy pool, too",
        ("BEGIN", ORDERS, "ROLLBACK"),
        count=3,
        reused=True,
    ),
    Actor(
        "celery@worker-3",
        "shop_celery",
        "updated an order and then talks to a payment provider, without a commit",
        ("BEGIN", "UPDATE orders_order SET status = 'sent' WHERE id = 4711"),
        "idle in transaction",
    ),
    Actor(
        "gunicorn: worker [shop.wsgi]",
        "shop_web",
        "wants the same order and waits for its lock",
        (USER,),
        "waits for a lock",
        running="UPDATE orders_order SET status = 'cancelled' WHERE id = 4711",
    ),
    Actor(
        "report: nightly.py",
        "shop_web",
        "read something, and keeps its snapshot open: vacuum cannot clean up",
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM orders_order WHERE status = 'paid'"),
        "idle in transaction",
    ),
    Actor(
        "manage.py import_stock",
        "shop_celery",
        "its statement failed, and nobody rolled back",
        ("BEGIN", "INSERT INTO cart_item (sku, qty) VALUES ('sku-7', 2)"),
        "idle in transaction (aborted)",
    ),
    Actor(
        "metabase",
        "metabase",
        "a report that takes its time",
        (),
        "active",
        running="SELECT date_trunc('day', created), sum(total) FROM orders_order, pg_sleep(86400) GROUP BY 1",
    ),
    Actor(
        "pg_dump",
        "shop_web",
        "a backup whose disk is full: it has stopped reading",
        (),
        "active",
        running="COPY public.orders_order TO stdout",
    ),
    Actor("uvicorn: shop.asgi", "shop_web", "leaked: each used once and forgotten", (ORDERS,), count=12, pace=0.35),
)


@dataclass(slots=True)
class Stage:
    """The clients that are connected."""

    server: Server
    expected: dict[int, str] = field(default_factory=dict)  # state by pid
    pools: list[tuple[psycopg.Connection[Any], Sequence[str]]] = field(default_factory=list)

    def use_pools(self) -> None:
        """Use each connection of the healthy pools once; one that somebody ended is no longer used."""
        for member in list(self.pools):
            try:
                for statement in member[1]:
                    member[0].execute(statement)
            except psycopg.OperationalError:
                self.pools.remove(member)


@contextmanager
def connected(server: Server) -> Iterator[Stage]:
    """Load the shop, connect everybody, and wait until each does what its story says; all leave at the end."""
    with ExitStack() as leaving:
        try:
            load(server)
            stage = Stage(server)
            for actor in ACTORS:
                for _ in range(actor.count):
                    time.sleep(actor.pace)
                    enter(stage, actor, leaving)
            wait_for_all(stage)
            stage.use_pools()
        except psycopg.Error as error:
            raise DemoFailed(f"cannot set up the clients: {str(error).splitlines()[0]}") from None
        yield stage


def load(server: Server) -> None:
    """Make roles, database and tables."""
    with session(server, "postgres", "postgres") as connection:
        for statement in SCHEMA:
            connection.execute(statement)
    with session(server, "shop_web") as connection:
        connection.execute(TABLES)


def session(server: Server, role: str, database: str = DATABASE, application: str = "setup") -> psycopg.Connection[Any]:
    """Open a session that commits each statement."""
    return psycopg.connect(
        host=server.socket,
        user=role,
        dbname=database,
        application_name=application,
        connect_timeout=10,
        autocommit=True,
    )


def enter(stage: Stage, actor: Actor, leaving: ExitStack) -> None:
    """Connect one client and let it do what it does."""
    connection = session(stage.server, actor.role, application=actor.application)
    leaving.callback(connection.close)
    for statement in actor.statements:
        try:
            connection.execute(statement)
        except psycopg.errors.UniqueViolation:
            continue  # as its story says
    if actor.running:
        connection.pgconn.send_query(actor.running.encode())  # and nobody reads the answer
        connection.pgconn.flush()
    if actor.reused:
        stage.pools.append((connection, actor.statements))
    stage.expected[connection.info.backend_pid] = actor.state


def wait_for_all(stage: Stage) -> None:
    """Ask until everybody has been in the expected state for LEAST_AGE; DemoFailed says who never got there."""
    deadline = time.monotonic() + PATIENCE
    with session(stage.server, "postgres") as connection:
        while missing := sorted(set(stage.expected) - in_place(stage, connection)):
            if time.monotonic() > deadline:
                wanted = ", ".join(sorted({stage.expected[pid] for pid in missing}))
                raise DemoFailed(f"after {PATIENCE:.0f} s there was no session that {wanted}")
            time.sleep(0.05)


STATES = """
    select pid,
           case when wait_event_type = 'Lock' then 'waits for a lock' else state end,
           extract(epoch from clock_timestamp() - state_change)::float8
    from pg_stat_activity
    where backend_type = 'client backend'
"""


def in_place(stage: Stage, connection: psycopg.Connection[Any]) -> set[int]:
    """Return the pids of those that are where they should be, for long enough."""
    rows = connection.execute(STATES).fetchall()
    return {pid for pid, state, age in rows if stage.expected.get(pid) == state and age >= LEAST_AGE}
