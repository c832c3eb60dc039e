-- The tables of a store, version 1.
--
-- A job's data lies in several rows under one number `n`, given in the order of submits, so that new rows append and
-- children need no text key. What is written often is narrow, what is wide is written once:
--
--   job      what claims, guards and lists read, and the events of its moves; only moves, wishes and renewals write it
--   live     what an attempt writes while it runs; a job that has written nothing has no such row
--   asked    what the submit fixed, and the payload; never written again
--   result   the last error and the result
--   event    the log of what attempts wrote; that of the moves lies in `job.log`, for a move writes that row anyway
--   step, signal    the remembered calls, the inbox
--   report   what slices left for whoever operates: tracebacks, lines of logs
--   record   small notes of workers, gates, tokens; no job's
--
-- `seq`, `version` and `updated_at` stand in `job` as of the last move and in `live` as of the last append; the numbers
-- only rise, so the greater tells which is the job's own.
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
    lease_until         real,
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
    completed_at        real,
    seq                 integer not null,
    version             integer not null,
    updated_at          real    not null,
    log                 text    not null            -- JSON of each event, with a comma before it
) strict;

create index job_ready on job (type, rank, tag) where tag is not null;
create index job_own on job (rank, owner, tag) where tag is not null;
create index job_wakes on job (next_at)
    where next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying');
create index job_expires on job (next_at)
    where next_at is not null and status in ('completed', 'failed', 'cancelled');
create index job_held on job (lease_until) where lease_until is not null;
create index job_shape on job (status, type, id);
create index job_owner on job (owner, id) where owner is not null;
create index job_batch on job (batch_id, id) where batch_id is not null;
create index job_key on job (idempotency_key, owner) where idempotency_key is not null;

create table live (
    n            integer primary key,
    seq          integer not null,
    version      integer not null,
    updated_at   real    not null,
    progress     real,
    message      text,
    current_step text,
    open_steps   text,                              -- JSON
    offsets      text,                              -- JSON
    usage        text                               -- JSON
) strict;

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
    select n, id, type, owner, rank, created_at, idempotency_key, batch_id,
           status, turn, lease, lease_until, worker, tag, next_at, attempt, resumes, deaths, claimed_at, ran, waiting,
           inbox, cancel_requested_at, cancel_reason, queued_at, started_at, completed_at,
           max(job.seq, ifnull(live.seq, 0)) as seq,
           max(job.version, ifnull(live.version, 0)) as version,
           iif(live.seq > job.seq, live.updated_at, job.updated_at) as updated_at,
           iif(status = 'completed', 100.0, progress) as progress,
           message, current_step, open_steps, offsets, usage,
           live.n is not null as appended, length(log) as logged,
           asked, last_error, payload, result_json
      from job left join live using (n) join asked using (n) left join result using (n);
