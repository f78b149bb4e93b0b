-- Findings with a life: one per rule and scope, opened by a run of the gate, acknowledged by a person, closed by a run or a person.
-- What happened is kept (events); what a finding is today is worked out from that (dq.finding_on), so the two cannot differ.
set local role hailong_gate;

create table dq.finding (
    finding_id bigint generated always as identity primary key,
    expectation_id text not null,
    scope_kind text not null check (scope_kind in ('feed', 'period')),
    scope text not null,
    unique (expectation_id, scope_kind, scope)
);
comment on table dq.finding is 'One per expectation and scope, however often it fails; expectations of severity info make none.';
comment on column dq.finding.scope is 'Feed of what has landed (*: all of them), or period of the candidate.';

create table dq.finding_event (
    event_id bigint generated always as identity primary key,
    finding_id bigint not null references dq.finding (finding_id),
    at timestamptz not null default clock_timestamp(),
    event text not null check (event in ('opened', 'seen', 'acknowledged', 'closed', 'reopened')),
    by text check (by <> ''),
    why text check (why <> ''),
    until date,
    run_id text references dq.run (run_id),
    severity text check (severity in ('critical', 'warning')),
    owner text,
    reason text,
    observed text,
    failing_keys text[] not null default '{}',
    constraint a_failure_is_of_a_run check (
        event not in ('opened', 'seen', 'reopened')
        or (run_id is not null and severity is not null and owner is not null and reason is not null and by is null)
    ),
    constraint an_acknowledgement_is_of_a_person check (
        event <> 'acknowledged' or (by is not null and why is not null and until is not null and run_id is null)
    ),
    constraint closed_by_a_run_or_a_person check (
        event <> 'closed' or ((run_id is not null) <> (by is not null) and (by is null) = (why is null))
    ),
    constraint only_an_acknowledgement_ends check (event = 'acknowledged' or until is null)
);
create index finding_event_finding on dq.finding_event (finding_id, event_id);
comment on table dq.finding_event is 'What happened to a finding, in the order of event_id.';
comment on column dq.finding_event.event is 'opened; seen: failed again; acknowledged; closed; reopened: failed after it was closed, or after its acknowledgement ran out.';
comment on column dq.finding_event.by is 'The person; null: a run of the gate.';
comment on column dq.finding_event.until is 'Last local day on which the acknowledgement holds.';
comment on column dq.finding_event.failing_keys is 'Unit or record keys of this scope that failed, at most 100; never personal data.';

create table dq.digest (
    digest_id bigint generated always as identity primary key,
    owner text not null,
    at timestamptz not null default clock_timestamp(),
    last_event_id bigint not null references dq.finding_event (event_id),
    findings integer not null check (findings > 0)
);
comment on table dq.digest is 'Digests of new findings that were handed over, per owner; the next one begins after last_event_id.';

create function dq.keep_order() returns trigger language plpgsql as $$
declare
    stands text;
begin
    select event into stands from dq.finding_event
    where finding_id = new.finding_id and event <> 'seen'
    order by event_id desc limit 1;
    if new.event = 'opened' and stands is not null
        or new.event <> 'opened' and stands is null
        or new.event = 'reopened' and stands not in ('closed', 'acknowledged')
        or new.event in ('seen', 'acknowledged', 'closed') and stands = 'closed'
    then
        raise exception 'finding %: % refused, because it is %', new.finding_id, new.event, coalesce(stands, 'not opened')
            using hint = 'Findings are opened once; a closed one can only be reopened, by a run of the gate in which it fails.';
    end if;
    return new;
end
$$;
create trigger finding_event_order before insert on dq.finding_event for each row execute function dq.keep_order();

create function dq.finding_on(asked_on date) returns table (
    finding_id bigint, expectation_id text, scope_kind text, scope text, state text, severity text, owner text, reason text,
    observed text, failing_keys text[], opened_at timestamptz, last_failed_at timestamptz, last_run_id text, failures bigint,
    event text, event_id bigint, event_at timestamptz, by text, why text, until date
) language sql stable as $$
    select
        f.finding_id, f.expectation_id, f.scope_kind, f.scope,
        case
            when stands.event = 'closed' then 'closed'
            when stands.event = 'acknowledged' and stands.until >= asked_on then 'acknowledged'
            else 'open'
        end as state,
        failed.severity, failed.owner, failed.reason, failed.observed, failed.failing_keys, first.at, failed.at, failed.run_id,
        counted.failures, stands.event, stands.event_id, stands.at, stands.by, stands.why, stands.until
    from dq.finding as f
    cross join lateral (
        select e.* from dq.finding_event as e
        where e.finding_id = f.finding_id and e.event <> 'seen'
        order by e.event_id desc limit 1
    ) as stands
    cross join lateral (
        select e.* from dq.finding_event as e
        where e.finding_id = f.finding_id and e.event in ('opened', 'seen', 'reopened')
        order by e.event_id desc limit 1
    ) as failed
    cross join lateral (
        select e.at from dq.finding_event as e where e.finding_id = f.finding_id order by e.event_id limit 1
    ) as first
    cross join lateral (
        select count(*) as failures from dq.finding_event as e
        where e.finding_id = f.finding_id and e.event in ('opened', 'seen', 'reopened')
    ) as counted
$$;
comment on function dq.finding_on is 'Every finding as it stands, with acknowledgements as they hold on that local day: open, acknowledged or closed.';

do $$
declare
    t text;
begin
    foreach t in array array['run', 'result', 'finding', 'finding_event', 'digest'] loop
        execute format('create trigger %I before update or delete on dq.%I for each row execute function ops.refuse_change()', t || '_append_only', t);
        execute format('create trigger %I before truncate on dq.%I for each statement execute function ops.refuse_change()', t || '_no_truncate', t);
        execute format('alter table dq.%I enable always trigger %I', t, t || '_append_only');
        execute format('alter table dq.%I enable always trigger %I', t, t || '_no_truncate');
    end loop;
end
$$;
alter table dq.finding_event enable always trigger finding_event_order;

grant select on dq.finding, dq.finding_event, dq.digest to hailong_transformer, hailong_publisher, hailong_reader;
revoke execute on function dq.finding_on(date) from public;
grant execute on function dq.finding_on(date) to hailong_transformer, hailong_publisher, hailong_reader;
reset role;
