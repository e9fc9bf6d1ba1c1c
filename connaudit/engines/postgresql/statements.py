"""What is asked of the server: whole statements, sent together as one simple query in a read-only transaction.

pg_stat_activity is never read, nor any other view over pg_authid and pg_database: it hangs while one of them is locked,
which is when an audit is wanted. Its function answers even then, and names are joined here, by oid.
Every statement runs with search_path = pg_catalog, so that nothing in a database can stand in for what it names.
"""

from collections.abc import Mapping

# Reading the settings must come before we change some of them. A deferrable serializable transaction, which a role may
# have by default, would wait until no other one writes, and a standby has none at all.
BEGIN = ("begin isolation level read committed, read only", "set local search_path = pg_catalog, pg_temp")

# What a role or database may have set for its sessions, and no answer may depend on.
OUR_OWN = {
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "datestyle": "ISO",
    "bytea_output": "escape",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
    "exit_on_error": "off",
    "jit": "off",
}


def limits(seconds: float, version: int, *, patient: bool) -> tuple[str, ...]:
    """Return the statements that bound the others on the server's side, a little tighter than ours.

    All of it ends with the transaction. Somebody who met one locked catalogue may meet several, and is not `patient`
    any more. Tenths of a second, so that many targets are sent the very same text.
    """
    timeout = max(1, int(seconds * 9)) * 100
    values = {
        "statement_timeout": f"{timeout}",
        "lock_timeout": f"{min(500, timeout) if patient else 50}",
        "idle_in_transaction_session_timeout": f"{timeout + 5000}",
        **({"transaction_timeout": "0"} if version >= 17 else {}),
        **OUR_OWN,
    }
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in values.items())
    # What a role has set as its statement_timeout may be too short even for this; and before 13 its clock runs on
    # through the batch, whatever is set meanwhile, until a statement finds none set.
    return ("set local statement_timeout = 0", f"select {calls}")


def pick(variants: Mapping[int, str], version: int) -> str:
    """Return the statement of the newest version that is not newer than the server.

    >>> pick({12: "old", 14: "new"}, 13)
    'old'
    """
    return variants[max(minimum for minimum in variants if minimum <= version)]


# Settings of the session that reads are those of the server only by their source.
SETTINGS = {
    12: """
        select name, setting, unit, source
        from pg_settings
        where name in ('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout',
                       'statement_timeout', 'lock_timeout', 'client_connection_check_interval',
                       'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout')
    """
}

# This and the list of sessions read no catalogue that logins read too: an audit must not wait for a lock there.
SERVER = {
    12: """
        select version() as version,
               current_setting('server_version_num') as version_num,
               current_setting('server_version') as version_text,
               clock_timestamp() as taken_at,
               pg_postmaster_start_time() as started_at,
               pg_backend_pid() as pid,
               pg_is_in_recovery() as replica,
               current_setting('max_connections') as max_connections,
               current_setting('superuser_reserved_connections') as reserved_superuser,
               current_setting('reserved_connections', true) as reserved,
               current_setting('max_wal_senders') as max_wal_senders,
               current_setting('track_activity_query_size') as query_size,
               current_setting('server_encoding') as encoding,
               concat_ws(' ',
                   case when current_setting('rds.extensions', true) is not null then 'rds' end,
                   case when to_regproc('pg_catalog.aurora_version') is not null then 'aurora' end,
                   case when current_setting('azure.extensions', true) is not null then 'azure' end,
                   case when current_setting('cloudsql.iam_authentication', true) is not null then 'cloudsql' end,
                   case when current_setting('hot_standby_feedback') = 'on' then 'hot_standby_feedback' end
               ) as features
    """
}

# Ages are by one clock of the server. now() would be the beginning of our own transaction.
# Walsenders and the workers of subscriptions are told to everybody by functions of their own, while backend_type is
# hidden from a role without grants.
SESSIONS = {
    12: """
        with clock as materialized (select clock_timestamp() as now)
        select a.pid,
               null::integer as leader,
               a.pid = pg_backend_pid() as is_self,
               a.backend_type,
               a.pid in (select w.pid from pg_stat_get_wal_senders() as w) as is_walsender,
               a.pid in (select w.pid from pg_stat_get_subscription(null) as w) as is_subscriber,
               a.state,
               a.datid,
               a.usesysid,
               a.application_name,
               host(a.client_addr) as client_address,
               a.client_hostname,
               a.client_port,
               a.wait_event_type,
               a.wait_event,
               a.backend_start as started_at,
               date_part('epoch', clock.now - a.backend_start) as connection_age,
               date_part('epoch', clock.now - a.xact_start) as transaction_age,
               date_part('epoch', clock.now - a.query_start) as query_age,
               date_part('epoch', clock.now - a.state_change) as state_age,
               age(a.backend_xid) as own_age,
               a.backend_xmin is not null as snapshot,
               greatest(age(a.backend_xid), age(a.backend_xmin)) as horizon_age,
               null::bigint as query_id,
               a.ssl or a.gss_enc as encrypted
        from pg_stat_get_activity(null) as a cross join clock
    """,
    13: """
        with clock as materialized (select clock_timestamp() as now)
        select a.pid,
               a.leader_pid as leader,
               a.pid = pg_backend_pid() as is_self,
               a.backend_type,
               a.pid in (select w.pid from pg_stat_get_wal_senders() as w) as is_walsender,
               a.pid in (select w.pid from pg_stat_get_subscription(null) as w) as is_subscriber,
               a.state,
               a.datid,
               a.usesysid,
               a.application_name,
               host(a.client_addr) as client_address,
               a.client_hostname,
               a.client_port,
               a.wait_event_type,
               a.wait_event,
               a.backend_start as started_at,
               date_part('epoch', clock.now - a.backend_start) as connection_age,
               date_part('epoch', clock.now - a.xact_start) as transaction_age,
               date_part('epoch', clock.now - a.query_start) as query_age,
               date_part('epoch', clock.now - a.state_change) as state_age,
               age(a.backend_xid) as own_age,
               a.backend_xmin is not null as snapshot,
               greatest(age(a.backend_xid), age(a.backend_xmin)) as horizon_age,
               null::bigint as query_id,
               a.ssl or a.gss_enc as encrypted
        from pg_stat_get_activity(null) as a cross join clock
    """,
    14: """
        with clock as materialized (select clock_timestamp() as now)
        select a.pid,
               a.leader_pid as leader,
               a.pid = pg_backend_pid() as is_self,
               a.backend_type,
               a.pid in (select w.pid from pg_stat_get_wal_senders() as w) as is_walsender,
               a.pid in (select w.pid from pg_stat_get_subscription(null) as w) as is_subscriber,
               a.state,
               a.datid,
               a.usesysid,
               a.application_name,
               host(a.client_addr) as client_address,
               a.client_hostname,
               a.client_port,
               a.wait_event_type,
               a.wait_event,
               a.backend_start as started_at,
               date_part('epoch', clock.now - a.backend_start) as connection_age,
               date_part('epoch', clock.now - a.xact_start) as transaction_age,
               date_part('epoch', clock.now - a.query_start) as query_age,
               date_part('epoch', clock.now - a.state_change) as state_age,
               age(a.backend_xid) as own_age,
               a.backend_xmin is not null as snapshot,
               greatest(age(a.backend_xid), age(a.backend_xmin)) as horizon_age,
               a.query_id,
               a.ssl or a.gss_enc as encrypted
        from pg_stat_get_activity(null) as a cross join clock
    """,
}

# By the same frozen list of sessions as above. Cut as bytes: by characters the server would have to know the
# encoding of other databases' texts, and fail where it guesses wrong.
TEXTS = {
    12: """
        select pg_stat_get_backend_pid(b.id) as pid,
               substring(textsend(b.query), 1, 640) as query,
               octet_length(b.query) as length
        from (
            select id, pg_stat_get_backend_activity(id) as query
            from pg_stat_get_backend_idset() as id
            offset 0
        ) as b
        where octet_length(b.query) > 0
    """
}

# Open to all: the lock on its own virtual transaction shows that a session is in one, hidden or not.
LOCKS = {
    12: """
        select pid,
               bool_or(locktype = 'virtualxid' and granted and mode = 'ExclusiveLock') as in_transaction,
               count(*) filter (where locktype = 'relation' and granted) as relations,
               max(array_position(array['AccessShareLock', 'RowShareLock', 'RowExclusiveLock',
                                        'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                                        'ExclusiveLock', 'AccessExclusiveLock'], mode))
                   filter (where locktype = 'relation' and granted) as strongest,
               count(*) filter (where locktype = 'advisory' and granted) as advisory
        from pg_locks
        where pid is not null
        group by pid
    """
}

PREPARED = {
    12: """
        select gid,
               quote_literal(gid) as literal,
               ownerid as owner,
               dbid as database,
               date_part('epoch', clock_timestamp() - prepared) as age,
               age(transaction) as horizon_age,
               transaction
        from pg_prepared_xact()
    """
}

# Who holds back vacuum without a transaction, and whose transaction does not: a VACUUM is passed over by others. A slot
# holds it back in all databases. Of a walsender with a slot, the slot has what its standby asks for; a logical one is
# passed over, too. Standbys without a slot stand in the list of sessions. A slot that lost its WAL keeps its numbers
# and holds back nothing any more. `kind` is slot or vacuum.
HOLDERS = {
    12: """
        select 'slot' as kind, slot_name as name, active_pid as pid, slot_type = 'physical' as physical,
               age(xmin) as horizon_age, age(catalog_xmin) as catalog_age, null::float8 as inactive_for
        from pg_get_replication_slots()
        where xmin is not null or catalog_xmin is not null
        union all
        select 'vacuum', null, pid, null, null, null, null
        from pg_stat_get_progress_info('VACUUM')
    """,
    13: """
        select 'slot' as kind, slot_name as name, active_pid as pid, slot_type = 'physical' as physical,
               age(xmin) as horizon_age, age(catalog_xmin) as catalog_age, null::float8 as inactive_for
        from pg_get_replication_slots()
        where (xmin is not null or catalog_xmin is not null)
          and wal_status is distinct from 'lost'
        union all
        select 'vacuum', null, pid, null, null, null, null
        from pg_stat_get_progress_info('VACUUM')
    """,
    17: """
        select 'slot' as kind, slot_name as name, active_pid as pid, slot_type = 'physical' as physical,
               age(xmin) as horizon_age, age(catalog_xmin) as catalog_age,
               date_part('epoch', clock_timestamp() - inactive_since) as inactive_for
        from pg_get_replication_slots()
        where (xmin is not null or catalog_xmin is not null)
          and wal_status is distinct from 'lost'
        union all
        select 'vacuum', null, pid, null, null, null, null
        from pg_stat_get_progress_info('VACUUM')
    """,
}

# pg_blocking_pids holds the whole lock manager for a moment, and a queue of n answers n * n / 2 pids. Beyond 200
# waiters only the first of each queue is asked for: those behind it wait at least for the same holders. Names of tables
# are left out while somebody locks pg_class, pg_namespace or their indexes (by oid, for names would wait as well).
# It knows nothing of the process that replays WAL on a standby. That one alone can ask for an AccessExclusiveLock
# there, and waits for whoever holds any other on the table. Prepared transactions are all 0 to it: which one is in the
# way tells the transaction that is waited for, or that no other of them has anything of what is waited for.
WAITERS = {
    12: """
        with lock as materialized (
            select pid, locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid,
                   virtualtransaction, mode, granted,
                   null::timestamptz as waitstart,
                   database in (0, (select datid from pg_stat_get_activity(pg_backend_pid()))) as is_ours,
                   first_value(pid) over (
                       partition by locktype, database, relation, page, tuple, virtualxid, transactionid::text,
                                    classid, objid, objsubid, mode, granted
                       order by pid
                   ) as first
            from pg_locks
            where not granted or pid is null
               or relation in (1259, 2615, 2662, 2663, 2684, 2685) and mode = 'AccessExclusiveLock'
        ), waiter as (
            select *,
                   count(*) filter (where not granted) over () as waiters,
                   bool_or(is_ours and relation in (1259, 2615, 2662, 2663, 2684, 2685)
                           and mode = 'AccessExclusiveLock') over () as names_are_locked
            from lock
        ), prepared as materialized (
            select held.locktype, held.database, held.relation, held.page, held.tuple, held.virtualxid,
                   held.classid, held.objid, held.objsubid, left_one.transaction
            from lock as held
                 join lock as own on own.virtualtransaction = held.virtualtransaction
                 join pg_prepared_xact() as left_one on left_one.transaction = own.transactionid
            where held.pid is null and own.pid is null
        )
        select pid, locktype, mode, first,
               case when is_ours and names_are_locked is not true then relation::regclass end as relation,
               coalesce(transactionid::text, (
                   select min(held.transaction::text)
                   from prepared as held
                   where (held.locktype, held.database, held.relation, held.page, held.tuple, held.virtualxid,
                          held.classid, held.objid, held.objsubid)
                         is not distinct from
                         (waiter.locktype, waiter.database, waiter.relation, waiter.page, waiter.tuple,
                          waiter.virtualxid, waiter.classid, waiter.objid, waiter.objsubid)
                   having count(distinct held.transaction::text) = 1
               )) as transaction,
               date_part('epoch', clock_timestamp() - waitstart) as age,
               case when locktype = 'relation' and mode = 'AccessExclusiveLock' and pg_is_in_recovery()
                    then coalesce((
                        select string_agg(distinct held.pid::text, ' ')
                        from pg_locks as held
                        where held.granted and held.locktype = 'relation'
                          and (held.database, held.relation) = (waiter.database, waiter.relation)
                    ), '')
                    when waiters <= 200 or pid = first
                    then array_to_string(pg_blocking_pids(pid), ' ')
               end as blocked_by
        from waiter
        where not granted
    """,
    14: """
        with lock as materialized (
            select pid, locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid,
                   virtualtransaction, mode, granted,
                   waitstart,
                   database in (0, (select datid from pg_stat_get_activity(pg_backend_pid()))) as is_ours,
                   first_value(pid) over (
                       partition by locktype, database, relation, page, tuple, virtualxid, transactionid::text,
                                    classid, objid, objsubid, mode, granted
                       order by waitstart, pid
                   ) as first
            from pg_locks
            where not granted or pid is null
               or relation in (1259, 2615, 2662, 2663, 2684, 2685) and mode = 'AccessExclusiveLock'
        ), waiter as (
            select *,
                   count(*) filter (where not granted) over () as waiters,
                   bool_or(is_ours and relation in (1259, 2615, 2662, 2663, 2684, 2685)
                           and mode = 'AccessExclusiveLock') over () as names_are_locked
            from lock
        ), prepared as materialized (
            select held.locktype, held.database, held.relation, held.page, held.tuple, held.virtualxid,
                   held.classid, held.objid, held.objsubid, left_one.transaction
            from lock as held
                 join lock as own on own.virtualtransaction = held.virtualtransaction
                 join pg_prepared_xact() as left_one on left_one.transaction = own.transactionid
            where held.pid is null and own.pid is null
        )
        select pid, locktype, mode, first,
               case when is_ours and names_are_locked is not true then relation::regclass end as relation,
               coalesce(transactionid::text, (
                   select min(held.transaction::text)
                   from prepared as held
                   where (held.locktype, held.database, held.relation, held.page, held.tuple, held.virtualxid,
                          held.classid, held.objid, held.objsubid)
                         is not distinct from
                         (waiter.locktype, waiter.database, waiter.relation, waiter.page, waiter.tuple,
                          waiter.virtualxid, waiter.classid, waiter.objid, waiter.objsubid)
                   having count(distinct held.transaction::text) = 1
               )) as transaction,
               date_part('epoch', clock_timestamp() - waitstart) as age,
               case when locktype = 'relation' and mode = 'AccessExclusiveLock' and pg_is_in_recovery()
                    then coalesce((
                        select string_agg(distinct held.pid::text, ' ')
                        from pg_locks as held
                        where held.granted and held.locktype = 'relation'
                          and (held.database, held.relation) = (waiter.database, waiter.relation)
                    ), '')
                    when waiters <= 200 or pid = first
                    then array_to_string(pg_blocking_pids(pid), ' ')
               end as blocked_by
        from waiter
        where not granted
    """,
}

DATABASES = {
    12: """
        select oid, datname as name, datconnlimit as connection_limit, pg_encoding_to_char(encoding) as encoding
        from pg_database
    """
}

# Only roles that are there or are limited: some servers have a hundred thousand.
ROLES = {
    12: """
        select oid, rolname as name, rolsuper as superuser,
               case when rolcanlogin and not rolsuper then rolconnlimit else -1 end as connection_limit
        from pg_roles
        where rolconnlimit >= 0
           or oid in (select pg_stat_get_backend_userid(id) from pg_stat_get_backend_idset() as id)
           or oid in (select ownerid from pg_prepared_xact())
    """
}

# What our role may do, and which grant it may have and not inherit.
OURSELVES = {
    12: """
        select quote_ident(current_user) as role,
               case when pg_has_role(current_user, 'pg_monitor', 'member') then 'pg_monitor'
                    when pg_has_role(current_user, 'pg_read_all_stats', 'member') then 'pg_read_all_stats'
               end as member_of,
               current_setting('is_superuser') = 'on' as superuser,
               pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
               current_setting('is_superuser') = 'on' as reserve
    """,
    16: """
        select quote_ident(current_user) as role,
               case when pg_has_role(current_user, 'pg_monitor', 'member') then 'pg_monitor'
                    when pg_has_role(current_user, 'pg_read_all_stats', 'member') then 'pg_read_all_stats'
               end as member_of,
               current_setting('is_superuser') = 'on' as superuser,
               pg_has_role(current_user, 'pg_read_all_stats', 'usage') as sees_all,
               current_setting('is_superuser') = 'on'
                   or current_setting('reserved_connections') <> '0'
                      and pg_has_role(current_user, 'pg_use_reserved_connections', 'usage') as reserve
    """,
}

OVERRIDES = {
    12: """
        select coalesce(r.rolname, case when s.setrole <> 0 then s.setrole::text end) as role,
               coalesce(d.datname, case when s.setdatabase <> 0 then s.setdatabase::text end) as database,
               split_part(c.setting, '=', 1) as name,
               substring(c.setting, position('=' in c.setting) + 1) as value
        from pg_db_role_setting as s
             cross join unnest(s.setconfig) as c (setting)
             left join pg_roles as r on r.oid = s.setrole
             left join pg_database as d on d.oid = s.setdatabase
        where (s.setrole <> 0 or s.setdatabase <> 0)
          and split_part(c.setting, '=', 1) in (
              'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout',
              'statement_timeout', 'lock_timeout', 'client_connection_check_interval', 'tcp_keepalives_idle',
              'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout')
    """
}
