-- The tables of a store, version 1.
--
-- A job's data lies in several rows under one number `n`, given in the order of submits, so that new rows append and
-- children need no text key. What is written often is narrow, what is wide is written once:
--
--   job      what claims, guards and lists read; only moves and wishes write it
--   live     what an attempt and its renewals write while it runs
--   asked    what the submit fixed, and the payload; never written again
--   result   the last error and the result
--   event, step, signal    the log, the remembered calls, the inbox
--   report   what slices left for whoever operates: tracebacks, lines of logs
--   record   small notes of workers, gates, tokens; no job's
--
-- Who wins a race: every write runs under the file's one write lock (BEGIN IMMEDIATE), reads the job's `turn`, `lease`
-- and `lease_until` there, and writes only if they are those it was decided on.

create table job (
    n                   integer primary key,
    id                  text    not null unique,
    type                text    not null,
    owner               text,
    rank                integer not null,           -- 0 high, 1 normal, 2 low
    created_at          real    not null,
    idempotency_key     text,
    batch_id            text,

    status              text    not null,
    turn                integer not null,
    lease               text,
    worker              text,
    tag                 integer,                    -- its place among the ready; null: not claimable
    next_at             real,
    attempt             integer not null,
    resumes             integer not null,
    deaths              integer not null,
    claimed_at          real,
    ran                 real    not null,
    waiting             text,                       -- JSON
    inbox               text,                       -- JSON, names only
    cancel_requested_at real,
    cancel_reason       text,
    queued_at           real    not null,
    started_at          real,
    completed_at        real
) strict;

create index job_ready on job (type, rank, tag, id) where tag is not null;
create index job_own on job (rank, owner, tag) where tag is not null;
create index job_wakes on job (next_at)
    where next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying');
create index job_expires on job (next_at)
    where next_at is not null and status in ('completed', 'failed', 'cancelled');
create index job_shape on job (status, type, id);
create index job_owner on job (owner, id) where owner is not null;
create index job_batch on job (batch_id, id) where batch_id is not null;
create index job_key on job (idempotency_key, owner) where idempotency_key is not null;

create table live (
    n            integer primary key,
    seq          integer not null,
    version      integer not null,
    updated_at   real    not null,
    lease_until  real,
    progress     real,
    message      text,
    current_step text,
    open_steps   text,                              -- JSON
    offsets      text,                              -- JSON
    usage        text                               -- JSON
) strict;

create index live_lease on live (lease_until) where lease_until is not null;

create table asked (
    n       integer primary key,
    asked   text    not null,                       -- JSON, without what is default
    payload text                                    -- last, so that the columns before it are read without it
) strict;

create table result (
    n           integer primary key,
    last_error  text,                               -- JSON
    result_json text
) strict;

create table event (
    n       integer not null,
    seq     integer not null,
    type    text    not null,
    time    real    not null,
    attempt integer not null,
    output  integer not null,
    data    text    not null,                       -- JSON
    primary key (n, seq)
) strict, without rowid;

create table step (
    n           integer not null,
    key         text    not null,
    name        text    not null,
    place       integer not null,
    status      text    not null,
    due         real,
    attempt     integer not null,
    duration_ms integer,
    value       text,                               -- JSON
    primary key (n, key)
) strict, without rowid;

create table signal (
    n      integer not null,
    number integer not null,
    name   text    not null,
    key    text,
    taken  integer not null,
    value  text    not null,                        -- JSON
    primary key (n, number)
) strict, without rowid;

create table report (
    n      integer not null,
    number integer not null,
    report text    not null,                        -- JSON
    primary key (n, number)
) strict, without rowid;

create table record (
    key        text    primary key,
    value      text    not null,                    -- JSON
    version    integer not null,
    expires_at real
) strict, without rowid;

-- A job in one row, as readers want it. Who reads no payload and no result does not pay for them.
create view whole as
    select job.*, seq, version, updated_at, lease_until, progress, message, current_step, open_steps, offsets, usage,
           asked, last_error, payload, result_json
      from job join live using (n) join asked using (n) left join result using (n);
