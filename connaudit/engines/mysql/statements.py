"""Every statement that is sent to MySQL and MariaDB, whole, and the one rule that picks them: `plan`.

They go out joined by semicolons, one round trip for all, and nothing is SET: through ProxySQL or a connection-sharing
router a session variable may stay behind on a backend that belongs to somebody else. So limits travel with each
statement (optimizer hints on MySQL, SET STATEMENT on MariaDB): ours of time, and those of rows that may be configured
for everybody, under which a list would be cut without a word. InnoDB's times, which are in the server's SYSTEM time
zone whatever the session's, are converted one by one. Percent signs are doubled: the driver fills in `ms`.
"""

from collections.abc import Iterator

from connaudit.dataclass import dataclass
from connaudit.snapshot import Fact

TEXT_BYTES = 800  # of a statement text; what is longer is cut by the server and marked


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: by what name its rows are known, and what becomes of the batch if it is refused."""

    name: str
    text: str
    optional: bool = True
    grant: str = ""  # statements of one grant are all refused together: after the first the others are not sent
    instead: "Statement | None" = None  # asked where this one is refused


HEAD = Statement(
    "head",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  connection_id() as id, version() as version, @@version_comment as version_comment,
  current_user() as account, user() as login, database() as db,
  @@global.max_connections as max_connections, @@session.max_user_connections as own_limit,
  @@global.performance_schema as performance_schema, utc_timestamp(6) as taken_at,
  @@session.character_set_results as charset""",
    optional=False,
)

# By exact name: with a real pattern the server adds up the counters of all threads, 5 ms at 5000 of them.
COUNTERS = tuple(
    Statement("counters", f"show global status like '{name}'", optional=False)
    for name in (
        "Threads_connected",
        "Max_used_connections",
        "Connection_errors_max_connections",
        "Uptime",
        "Performance_schema_thread_instances_lost",
    )
)

# A variable that a server does not have is simply absent.
VARIABLES = Statement(
    "variables",
    """show global variables where variable_name in ('max_user_connections', 'extra_port', 'extra_max_connections',
  'admin_address', 'admin_port', 'wait_timeout', 'interactive_timeout', 'idle_transaction_timeout',
  'idle_write_transaction_timeout', 'idle_readonly_transaction_timeout', 'kill_idle_transaction',
  'innodb_kill_idle_transaction', 'lock_wait_timeout', 'innodb_lock_wait_timeout', 'max_execution_time',
  'max_statement_time', 'thread_handling', 'aurora_version', 'tidb_version', 'wsrep_on', 'basedir',
  'innodb_rollback_on_timeout')""",
    optional=False,
)

# SHOW knows no hints, under which it would tell one row of several.
VARIABLES_MYSQL_8 = Statement(
    "variables",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  variable_name, variable_value as value
from performance_schema.global_variables
where variable_name in ('max_user_connections', 'extra_port', 'extra_max_connections', 'admin_address', 'admin_port',
  'wait_timeout', 'interactive_timeout', 'kill_idle_transaction', 'innodb_kill_idle_transaction', 'lock_wait_timeout',
  'innodb_lock_wait_timeout', 'max_execution_time', 'thread_handling', 'aurora_version', 'tidb_version', 'wsrep_on',
  'basedir', 'innodb_rollback_on_timeout', 'performance_schema_show_processlist')""",
    instead=VARIABLES,
)

PROCESSLIST = Statement("processlist", "show processlist", optional=False)
FULL_PROCESSLIST = Statement("processlist", "show full processlist", optional=False)

# `show full processlist` would send every text whole. Refused (3854) by MySQL 9 while anybody runs a statement that
# is no UTF-8, whatever columns one asks for.
PROCESSLIST_MYSQL = Statement(
    "processlist",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  id, user, host, db, command, time, state, left(info, 801) as info
from information_schema.processlist""",
    instead=FULL_PROCESSLIST,
)

# TIME of a sleeping thread is the time it has slept, here and not on MySQL; `info` has ???? for what is no UTF-8.
PROCESSLIST_MARIADB = Statement(
    "processlist",
    """select id, user, host, db, command, time, time_ms, state, left(info_binary, 801) as info, query_id
from information_schema.processlist""",
    optional=False,
)

# A transaction that has read and written nothing is not in it. trx_id is 0 for every read-only one on MariaDB 10.11,
# so it is joined by thread; thread 0 is a prepared XA transaction without a session.
INNODB_TRX = Statement(
    "innodb_trx",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  trx_mysql_thread_id as id, trx_id, trx_state as state,
  timestampdiff(second, convert_tz(trx_started, 'SYSTEM', '+00:00'), utc_timestamp()) as age,
  timestampdiff(second, convert_tz(trx_wait_started, 'SYSTEM', '+00:00'), utc_timestamp()) as wait_age,
  trx_tables_locked as tables_locked, trx_rows_locked as rows_locked, trx_rows_modified as rows_modified,
  trx_isolation_level as isolation, trx_query is not null as running, trx_requested_lock_id as wanted
from information_schema.innodb_trx""",
    grant="process",
)

# The length of InnoDB's history list; the other place that tells it, SHOW ENGINE INNODB STATUS, walks all lock waits.
BACKLOG_MYSQL = Statement(
    "backlog",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  count as transactions
from information_schema.innodb_metrics where name = 'trx_rseg_history_len' and status = 'enabled'""",
    grant="process",
)
BACKLOG_MARIADB = Statement(
    "backlog",
    """select count as transactions
from information_schema.innodb_metrics where name = 'trx_rseg_history_len' and enabled""",
    grant="process",
)

# What is switched on inside performance_schema: its tables are empty, without an error, where it is not.
CAPABILITIES = Statement(
    "capabilities",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  name
from performance_schema.setup_consumers
where enabled = 'YES' and name in ('global_instrumentation', 'thread_instrumentation', 'events_statements_current',
  'events_statements_history', 'events_transactions_current')
union all
select name from performance_schema.setup_instruments
where enabled = 'YES' and name in ('transaction', 'wait/lock/metadata/sql/mdl', 'statement/sql/select')""",
    grant="performance_schema",
)
PROGRAM_NAMES = Statement(
    "attributes",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  processlist_id as id, attr_name as name, left(attr_value, 256) as value
from performance_schema.session_connect_attrs where attr_name = 'program_name'""",
    grant="performance_schema",
)
ATTRIBUTES = Statement(
    "attributes",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  processlist_id as id, attr_name as name, left(attr_value, 256) as value
from performance_schema.session_connect_attrs""",
    grant="performance_schema",
)

# Timers are unsigned picoseconds since the server began; subtracted here they would overflow (1690). That of a running
# event ends now, so that our own row tells the time. Of a procedure, only the call itself is at level 0. By its index
# MySQL tells of a session that has run nothing yet what whoever had that thread before ran last.
TIMERS = Statement(
    "statements",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  t.processlist_id as id, t.connection_type, t.instrumented, s.event_id, s.end_event_id, s.timer_start, s.timer_end
from performance_schema.threads t
left join performance_schema.events_statements_current s use index ()
  on s.thread_id = t.thread_id and coalesce(s.nesting_event_level, 0) = 0
where t.processlist_id is not null""",
    grant="performance_schema",
)
LAST_STATEMENTS = Statement(
    "statements",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  t.processlist_id as id, t.connection_type, t.instrumented,
  s.event_id, s.end_event_id, s.timer_start, s.timer_end, s.event_name, left(s.sql_text, 801) as info
from performance_schema.threads t
left join performance_schema.events_statements_current s use index ()
  on s.thread_id = t.thread_id and coalesce(s.nesting_event_level, 0) = 0
where t.processlist_id is not null""",
    grant="performance_schema",
)

# The session list for an account that may read performance_schema but lacks PROCESS; it has no ports.
THREADS = Statement(
    "threads",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  processlist_id as id, processlist_user as user,
  if(connection_type = 'Socket', 'localhost', concat(processlist_host, ':0')) as host, processlist_db as db,
  processlist_command as command, processlist_time as time, processlist_state as state,
  left(processlist_info, 801) as info
from performance_schema.threads
where processlist_id is not null and type = 'FOREGROUND'
  and name in ('thread/sql/one_connection', 'thread/thread_pool/tp_one_connection', 'thread/mysqlx/worker')""",
    grant="performance_schema",
)

# Sees the transactions that InnoDB does not: BEGIN alone, other engines.
TRANSACTIONS = Statement(
    "transactions",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  t.processlist_id as id, e.event_id, e.timer_wait, e.isolation_level as isolation, e.xa_state,
  e.nesting_event_id, e.nesting_event_type
from performance_schema.events_transactions_current e
join performance_schema.threads t on t.thread_id = e.thread_id
where e.state = 'ACTIVE' and t.processlist_id is not null and t.instrumented = 'YES'""",
    grant="performance_schema",
)

# data_locks would tell table and mode, at the price of listing every lock that there is.
ROW_LOCKS_MYSQL_8 = Statement(
    "row_locks",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */ distinct
  r.processlist_id as waiter, b.processlist_id as blocker, w.blocking_engine_transaction_id as blocker_trx
from performance_schema.data_lock_waits w
left join performance_schema.threads r on r.thread_id = w.requesting_thread_id
left join performance_schema.threads b on b.thread_id = w.blocking_thread_id""",
    grant="performance_schema",
)
# Everybody in a queue waits for all those ahead, and these tables know no index: joined by the server, some hundreds of
# waiters for one row would take it longer than there is time. On MariaDB a reader that waits has the number 0, like all
# other readers, so that who waits is known by the lock that is asked for.
ROW_LOCKS = Statement(
    "row_locks",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  requested_lock_id as wanted, blocking_trx_id as blocker_trx
from information_schema.innodb_lock_waits""",
    grant="process",
)
# Only those that are waited for, and the waiting ones.
LOCKED_ROWS = Statement(
    "locked_rows",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  lock_id as id, lock_mode as mode, lock_table as relation
from information_schema.innodb_locks""",
    grant="process",
)

# Only of what somebody waits for; it is empty where nobody does.
METADATA_LOCKS = Statement(
    "metadata_locks",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  t.processlist_id as id, m.object_type, m.object_schema, m.object_name, m.lock_type as mode,
  m.lock_status as status
from performance_schema.metadata_locks m
join (select distinct object_type, object_schema, object_name from performance_schema.metadata_locks
      where lock_status = 'PENDING') p
  on p.object_type = m.object_type and p.object_schema <=> m.object_schema and p.object_name <=> m.object_name
join performance_schema.threads t on t.thread_id = m.owner_thread_id""",
    grant="performance_schema",
)
# MariaDB's plugin: holders only, but without performance_schema. Its THREAD_ID is the processlist's.
METADATA_LOCK_INFO = Statement(
    "metadata_lock_info",
    """select thread_id as id, lock_type as object_type, table_schema as object_schema, table_name as object_name,
  lock_mode as mode
from information_schema.metadata_lock_info""",
)

XA_MYSQL = Statement("xa", "xa recover")
XA_MARIADB = Statement("xa", "xa recover format = 'SQL'")

# A limit is of one account, a name with a host, while the list of sessions does not tell which account each is of.
ACCOUNT_LIMITS = Statement(
    "account_limits",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  user, max(max_user_connections) as most, count(*) as accounts
from mysql.user group by user having max(max_user_connections) > 0 or count(*) > 1""",
    grant="performance_schema",  # who may not read that may not read this
)

# What the sessions idle in transaction ran before: drivers ping, and a ping is no clue.
HISTORY = Statement(
    "history",
    """select /*+ max_execution_time(%(ms)s) set_var(sql_select_limit=4294967295) set_var(sql_big_selects=1) */
  t.processlist_id as id, h.event_id, h.event_name, h.nesting_event_id, h.timer_end, left(h.sql_text, 801) as info
from performance_schema.events_statements_history h
join performance_schema.threads t on t.thread_id = h.thread_id
where h.sql_text is not null and t.processlist_id in %(ids)s""",
    grant="performance_schema",
)
GRANTS = Statement("grants", "show grants")  # ours; what granted roles give is not spelt out

MYSQL, MARIADB = "MySQL", "MariaDB"


def plan(product: str, version: tuple[int, ...], facts: frozenset[Fact]) -> Iterator[Statement]:
    """Yield what to ask for these facts, in the order in which to ask it: what must not fail first."""
    yield HEAD
    yield from COUNTERS
    yield VARIABLES_MYSQL_8 if has_data_locks(product, version) else VARIABLES
    if product == MARIADB:
        yield PROCESSLIST_MARIADB
    else:
        yield PROCESSLIST_MYSQL if Fact.QUERIES in facts else PROCESSLIST
    if facts & {Fact.STATES, Fact.TRANSACTIONS, Fact.LOCKS, Fact.AUDITOR}:
        yield INNODB_TRX
    if Fact.HORIZON in facts:
        yield BACKLOG_MARIADB if product == MARIADB else BACKLOG_MYSQL
    if Fact.LOCKS in facts and not has_data_locks(product, version):
        yield ROW_LOCKS
        yield LOCKED_ROWS
    yield from _from_performance_schema(product, version, facts)
    if Fact.AUDITOR in facts:
        yield GRANTS
    yield ACCOUNT_LIMITS  # mostly refused: after it nothing is left that would cost a round trip


def _from_performance_schema(product: str, version: tuple[int, ...], facts: frozenset[Fact]) -> Iterator[Statement]:
    if Fact.SESSIONS in facts:
        yield PROGRAM_NAMES if facts <= {Fact.SESSIONS, Fact.STATES} else ATTRIBUTES
    if not facts & {Fact.STATES, Fact.TRANSACTIONS, Fact.QUERIES, Fact.LOCKS}:
        return
    yield CAPABILITIES
    yield LAST_STATEMENTS if Fact.QUERIES in facts else TIMERS
    if facts & {Fact.STATES, Fact.TRANSACTIONS}:
        yield TRANSACTIONS
    if Fact.LOCKS in facts:
        if has_data_locks(product, version):
            yield ROW_LOCKS_MYSQL_8
        yield METADATA_LOCKS


def has_data_locks(product: str, version: tuple[int, ...]) -> bool:
    """Return whether performance_schema tells of row locks, in InnoDB's place."""
    return product == MYSQL and version >= (8, 0, 1)
