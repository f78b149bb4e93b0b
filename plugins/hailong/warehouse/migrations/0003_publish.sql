-- What we said: candidates (copies looked at before signing), approvals, editions. Append-only for every role we use.
set local role hailong_owner;

create table publish.candidate (
    candidate_id text primary key,
    period_code text not null,
    calendar_code text not null,
    period_start date not null,
    period_end date not null,
    cutoff_at timestamp not null,
    as_of_batch bigint not null,
    build_id bigint not null,
    rules_sha256 text not null,
    policy_id text not null,
    metric_version text,
    code_version text not null,
    late_batches integer not null,
    content_sha256 text not null check (content_sha256 ~ '^[0-9a-f]{64}$'),
    requested_by text not null,
    created_at timestamptz not null default clock_timestamp(),
    check (period_start < period_end)
);
comment on table publish.candidate is 'One period''s rows copied out of marts; the gate, the reviewer and the signature look at this copy.';
comment on column publish.candidate.late_batches is 'Batches in this copy that were loaded after the cut-off.';

create table publish.candidate_k_score (
    candidate_id text not null references publish.candidate (candidate_id),
    period_code text not null,
    unit_code text not null,
    unit_name text not null,
    peer_group text not null,
    peer_group_name text not null,
    unit_kind text not null,
    a numeric(20, 15), b numeric(20, 15), c numeric(20, 15), d numeric(20, 15), e numeric(20, 15),
    k numeric(12, 6),
    verdict text, verdict_bound text, status text not null, status_reason text,
    rank_in_group integer, window_start date not null, window_end date not null, window_clipped text,
    verdict_stability text, k_min numeric(12, 6), k_max numeric(12, 6),
    small_sample boolean not null, near_threshold boolean not null, no_petitions boolean not null,
    primary key (candidate_id, unit_code)
);

create table publish.candidate_index_score (
    candidate_id text not null references publish.candidate (candidate_id),
    period_code text not null,
    unit_code text not null,
    index_code text not null check (index_code in ('A', 'B', 'C', 'D', 'E')),
    numerator numeric, denominator numeric, excluded bigint,
    value numeric(20, 15), status text not null, status_reason text,
    primary key (candidate_id, unit_code, index_code)
);

create table publish.candidate_parameter (
    candidate_id text not null references publish.candidate (candidate_id),
    policy_id text not null,
    parameter text not null,
    value text not null,
    why text not null,
    primary key (candidate_id, policy_id, parameter)
);

create table publish.approval (
    candidate_id text not null references publish.candidate (candidate_id),
    content_sha256 text not null,
    decision text not null check (decision in ('approved', 'rejected')),
    decided_by text not null,
    decided_at timestamptz not null default clock_timestamp(),
    warnings_seen text[] not null,
    channel text not null check (channel in ('cli', 'airflow')),
    primary key (candidate_id, decided_at)
);
comment on table publish.approval is 'Who signed or refused which candidate, at which checksum, having seen which warnings.';

create table publish.edition (
    edition_id text primary key,
    period_code text not null,
    calendar_code text not null,
    period_start date not null,
    period_end date not null,
    edition_no integer not null check (edition_no >= 1),
    supersedes text references publish.edition (edition_id),
    reason text,
    candidate_id text not null unique references publish.candidate (candidate_id),
    as_of_batch bigint not null,
    rules_sha256 text not null,
    policy_id text not null,
    metric_version text,
    code_version text not null,
    content_sha256 text not null,
    previous_sha256 text,
    gate_run_id text not null,
    published_at timestamptz not null default clock_timestamp(),
    published_by text not null,
    unique (period_code, calendar_code, edition_no),
    check (edition_no = 1 or (supersedes is not null and reason is not null))
);

create table publish.k_score (
    edition_id text not null references publish.edition (edition_id),
    period_code text not null,
    unit_code text not null,
    unit_name text not null,
    peer_group text not null,
    a numeric(20, 15), b numeric(20, 15), c numeric(20, 15), d numeric(20, 15), e numeric(20, 15),
    k numeric(12, 6),
    verdict text, verdict_bound text, status text not null,
    rank_in_group integer, window_start date not null, window_end date not null, window_clipped text,
    verdict_stability text, k_min numeric(12, 6), k_max numeric(12, 6),
    small_sample boolean not null, near_threshold boolean not null,
    peer_group_name text not null,
    unit_kind text not null,
    status_reason text,
    no_petitions boolean not null,
    primary key (edition_id, unit_code)
);

create table publish.index_score (
    edition_id text not null references publish.edition (edition_id),
    period_code text not null,
    unit_code text not null,
    index_code text not null,
    numerator numeric, denominator numeric, excluded bigint,
    value numeric(20, 15), status text not null, status_reason text,
    primary key (edition_id, unit_code, index_code)
);

create table publish.edition_parameter (
    edition_id text not null references publish.edition (edition_id),
    policy_id text not null,
    parameter text not null,
    value text not null,
    why text not null,
    primary key (edition_id, policy_id, parameter)
);

create table publish.artifact (
    edition_id text not null references publish.edition (edition_id),
    name text not null,
    bytes bigint not null,
    sha256 text not null,
    renderer_version text not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (edition_id, name)
);

create view publish.k_score_latest with (security_invoker = true) as
select k.*
from publish.k_score as k
inner join publish.edition as e using (edition_id)
where not exists (select 1 from publish.edition as newer where newer.supersedes = e.edition_id);

create view publish.index_score_latest with (security_invoker = true) as
select i.*
from publish.index_score as i
inner join publish.edition as e using (edition_id)
where not exists (select 1 from publish.edition as newer where newer.supersedes = e.edition_id);

grant select on all tables in schema publish to hailong_gate, hailong_publisher, hailong_reader;
grant insert on
    publish.candidate, publish.candidate_k_score, publish.candidate_index_score, publish.candidate_parameter,
    publish.approval, publish.edition, publish.k_score, publish.index_score, publish.edition_parameter, publish.artifact
to hailong_publisher;

do $$
declare
    t text;
begin
    foreach t in array array[
        'candidate', 'candidate_k_score', 'candidate_index_score', 'candidate_parameter', 'approval',
        'edition', 'k_score', 'index_score', 'edition_parameter', 'artifact'
    ] loop
        execute format('create trigger %I before update or delete on publish.%I for each row execute function ops.refuse_change()', t || '_append_only', t);
        execute format('create trigger %I before truncate on publish.%I for each statement execute function ops.refuse_change()', t || '_no_truncate', t);
        execute format('alter table publish.%I enable always trigger %I', t, t || '_append_only');
        execute format('alter table publish.%I enable always trigger %I', t, t || '_no_truncate');
    end loop;
end
$$;

reset role;
