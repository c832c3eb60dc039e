-- The tables of a store, version 1. They lie in a schema of their own, which the search path names.
--
-- A job's data lies in several rows under one number `n`. What is written often is narrow, what is wide is written once:
--
--   job      what claims, guards and lists read, and the events of its moves; only moves, wishes and renewals write it
--   live     what an attempt writes while it runs; a job that has written nothing has no such row
--   asked    what the submit fixed, and the payload; never written again
--   result   the last error and the result
--   event    the log of what attempts wrote; that of the moves lies in `job.log`, for a move writes that row anyway
--   step, signal    the remembered calls, the inbox
--   report   what slices left for whoever operates: tracebacks, lines of logs
--   held     idempotency keys, each the job's that holds it; what makes two submits at once one job
--   record   small notes of workers, gates, tokens; no job's
--
-- `seq`, `version` and `updated_at` stand in `job` as of the last move and in `live` as of the last append; the numbers
-- only rise, so the greater tells which is the job's own.
--
-- Who wins a race: every write to a job first locks its row in `job`, in the order of ids, and reads it behind the lock.
-- Claims pass over what is locked. JSON is kept as text, to the letter.

create sequence job_number;

create table job (
    n                   bigint           primary key,
    id                  text collate "C" not null unique,
    type                text collate "C" not null,
    owner               text collate "C",
    rank                smallint         not null,  -- 0 high, 1 normal, 2 low
    created_at          float8           not null,
    idempotency_key     text,
    batch_id            text collate "C",

    status              text collate "C" not null,
    turn                integer          not null,
    lease               text,
    lease_until         float8,
    worker              text,
    tag                 bigint,                     -- its place among the ready; null: not claimable
    next_at             float8,
    attempt             integer          not null,
    resumes             boolean          not null,
    deaths              integer          not null,
    claimed_at          float8,
    ran                 float8           not null,
    waiting             text,                       -- JSON
    inbox               text,                       -- JSON, names only
    cancel_requested_at float8,
    cancel_reason       text,
    queued_at           float8           not null,
    started_at          float8,
    completed_at        float8,
    seq                 integer          not null,
    version             integer          not null,
    updated_at          float8           not null,
    log                 text             not null   -- JSON of each event, with a comma before it
) with (
    fillfactor = 70,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.05
);

create index job_ready on job (type, rank, tag, n) where tag is not null;
create index job_own on job (rank, owner, tag) where tag is not null;
create index job_wakes on job (next_at)
    where next_at is not null and status in ('queued', 'processing', 'waiting', 'retrying');
create index job_expires on job (next_at)
    where next_at is not null and status in ('completed', 'failed', 'cancelled');
create index job_held on job (lease_until) where lease_until is not null;
create index job_shape on job (status, type, id);
create index job_owner on job (owner, id) where owner is not null;
create index job_batch on job (batch_id, id) where batch_id is not null;

create table live (
    n            bigint  primary key,
    seq          integer not null,
    version      integer not null,
    updated_at   float8  not null,
    progress     float8,
    message      text,
    current_step text,
    open_steps   text,                              -- JSON
    offsets      text,                              -- JSON
    usage        text                               -- JSON
) with (
    fillfactor = 50,
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);

create table asked (
    n       bigint primary key,
    asked   text   not null,                        -- JSON, without what is default
    payload text,
    tags    text                                    -- each between two line ends, to be found by
);

create table result (
    n           bigint primary key,
    last_error  text,                               -- JSON
    result_json text
);

create table event (
    n       bigint  not null,
    seq     integer not null,
    type    text    not null,
    time    float8  not null,
    attempt integer not null,
    output  boolean not null,
    data    text    not null,                       -- JSON
    primary key (n, seq)
);

create table step (
    n           bigint           not null,
    key         text collate "C" not null,
    name        text             not null,
    place       integer          not null,
    status      text             not null,
    due         float8,
    attempt     integer          not null,
    duration_ms bigint,
    value       text,                               -- JSON
    primary key (n, key)
);

create table signal (
    n      bigint  not null,
    number integer not null,
    name   text    not null,
    key    text,
    taken  boolean not null default false,
    value  text    not null,                        -- JSON
    primary key (n, number)
);

create table report (
    n      bigint  not null,
    number integer not null,
    report text    not null,                        -- JSON
    primary key (n, number)
);

create table held (
    name text collate "C" primary key,              -- JSON of owner and key
    n    bigint           not null,
    at   float8           not null
);

create table record (
    key        text collate "C" primary key,
    value      text             not null,           -- JSON
    version    bigint           not null,
    expires_at float8
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.02);

-- A job in one row, as readers want it. Who reads no payload and no result does not pay for them.
create view whole as
    select n, id, type, owner, rank, created_at, idempotency_key, batch_id,
           status, turn, lease, lease_until, worker, tag, next_at, attempt, resumes, deaths, claimed_at, ran, waiting,
           inbox, cancel_requested_at, cancel_reason, queued_at, started_at, completed_at,
           greatest(job.seq, live.seq) as seq,
           greatest(job.version, live.version) as version,
           case when live.seq > job.seq then live.updated_at else job.updated_at end as updated_at,
           case when status = 'completed' then 100.0::float8 else progress end as progress,
           message, current_step, open_steps, offsets, usage,
           live.n is not null as appended, length(log) as logged,
           asked, last_error, payload, result_json, tags
      from job left join live using (n) join asked using (n) left join result using (n);
