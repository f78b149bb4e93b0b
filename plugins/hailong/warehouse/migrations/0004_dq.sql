-- What the gate saw. A run belongs to a candidate (scope 'candidate') or to the landed batches of a build (scope 'landed').
set local role hailong_gate;

create table dq.run (
    run_id text primary key,
    scope text not null check (scope in ('landed', 'candidate')),
    candidate_id text,
    content_sha256 text,
    period_code text,
    as_of_batch bigint not null,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    disposition text not null check (disposition in ('pass', 'warn', 'stop')),
    expectations integer not null check (expectations > 0),
    docs_uri text,
    check (scope <> 'candidate' or (candidate_id is not null and content_sha256 is not null and period_code is not null))
);
comment on table dq.run is 'One run of the gate. stop: a critical expectation failed. warn: a sign-off must quote the warnings.';

create table dq.result (
    run_id text not null references dq.run (run_id),
    expectation_id text not null,
    target text not null,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    success boolean not null,
    observed text,
    threshold text,
    failing_keys text[] not null default '{}',
    reason text not null,
    owner text not null,
    primary key (run_id, expectation_id, target)
);
comment on column dq.result.failing_keys is 'Unit or record keys that failed, at most 100; never personal data.';

grant select on dq.run, dq.result to hailong_transformer, hailong_publisher, hailong_reader;
reset role;
