"""The statements of the history, written once for every database that keeps it.

Plain SQL: `?` stands for a parameter, conflicts are settled by keys and nothing is locked by name, so that SQLite,
PostgreSQL and what speaks like it serve them alike. `ts` is milliseconds since 1970; that of a run is nobody else's.
"""

ADD_RUN = "insert into run (ts, targets, answered) values (?, ?, ?) on conflict (ts) do nothing"
RUNS = "select ts from run where ts >= ? and ts < ? order by ts"
EXTENT = "select min(ts), max(ts) from run"
EXTENT_OF_HOURS = "select min(ts), max(ts) from target_hourly"

ADD_TARGET = "insert into target (name) values (?) on conflict (name) do nothing"
# Only where something changed: the row is everybody's.
UPDATE_TARGET = """
update target set engine = ?, product = ?, version = ?, address = ?
where name = ? and (engine is null or engine <> ? or product <> ? or version <> ? or address <> ?)
"""
TARGET_IDS = "select name, id from target"
TARGETS = """
select t.name, t.engine, t.product, t.version, t.address, min(s.ts), max(s.ts), count(s.ts)
from target t left join target_sample s on s.target = t.id
group by t.name, t.engine, t.product, t.version, t.address
order by t.name
"""

# `name` holds all values of a group in one text: null equals nothing, not even in a key.
ADD_GROUP = """
insert into grp (name, target, db, "user", app, client, state) values (?, ?, ?, ?, ?, ?, ?)
on conflict (name) do nothing
"""
GROUP_IDS = "select name, id from grp where target = ?"
GROUPS = 'select id, db, "user", app, client, state from grp where target = ?'

ADD_TARGET_SAMPLE = (
    "insert into target_sample (target, ts, up, error, used, usable, started) values (?, ?, ?, ?, ?, ?, ?)"
)
ADD_SAMPLE = "insert into sample (ts, grp, n, oldest_s) values (?, ?, ?, ?)"
TARGET_SAMPLES = """
select ts, up, error, used, usable, started from target_sample
where target = ? and ts >= ? and ts < ? order by ts
"""
SAMPLES = """
select s.ts, s.grp, s.n, s.oldest_s from sample s join grp g on g.id = s.grp
where g.target = ? and s.ts >= ? and s.ts < ? order by s.ts
"""

# A summary that is made again replaces what was there: a run may be late.
ADD_TARGET_HOUR = """
insert into target_hourly (target, ts, min, p10, avg, max, usable, started, samples)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (target, ts) do update set min = excluded.min, p10 = excluded.p10, avg = excluded.avg, max = excluded.max,
usable = excluded.usable, started = excluded.started, samples = excluded.samples
"""
ADD_HOUR = """
insert into hourly (grp, ts, min, p10, avg, max) values (?, ?, ?, ?, ?, ?)
on conflict (grp, ts) do update set min = excluded.min, p10 = excluded.p10, avg = excluded.avg, max = excluded.max
"""
TARGET_HOURS = """
select ts, min, p10, avg, max, usable, started, samples from target_hourly
where target = ? and ts >= ? and ts < ? order by ts
"""
HOURS = """
select h.ts, h.grp, h.min, h.p10, h.avg, h.max from hourly h join grp g on g.id = h.grp
where g.target = ? and h.ts >= ? and h.ts < ? order by h.ts
"""

MARK = "select value from mark where name = ?"
ADD_MARK = "insert into mark (name, value) values (?, ?) on conflict (name) do nothing"
# Of several that come at once, one moves the mark.
MOVE_MARK = "update mark set value = ? where name = ? and value <= ?"

FORGET = (
    "delete from sample where ts < ?",
    "delete from target_sample where ts < ?",
    "delete from run where ts < ?",
)
FORGET_HOURS = ("delete from hourly where ts < ?", "delete from target_hourly where ts < ?")
# Every group that is older than the last hours has its hours.
FORGET_GROUPS = """
delete from grp where not exists (select 1 from hourly h where h.grp = grp.id)
and id not in (select s.grp from sample s where s.ts >= ?)
"""
FORGET_ALERTS = "delete from alert_state where spoken < ?"

ALERTS = "select target, check_name, verdict, since, spoken from alert_state"
REMEMBER_ALERT = """
insert into alert_state (target, check_name, verdict, since, spoken) values (?, ?, ?, ?, ?)
on conflict (target, check_name) do update set verdict = excluded.verdict, since = excluded.since,
spoken = excluded.spoken
"""
