-- A published period said anew: which edition a candidate restates, why, and by which cause each number changed.
set local role hailong_owner;

alter table publish.candidate
add column restates text references publish.edition (edition_id),
add column reason text,
add constraint candidate_restates_for_a_reason check ((restates is null) = (reason is null));
comment on column publish.candidate.restates is 'Edition that this copy is to take the place of; null: the first of its period.';

create table publish.candidate_difference (
    candidate_id text not null references publish.candidate (candidate_id),
    unit_code text not null,
    index_code text not null check (index_code in ('A', 'B', 'C', 'D', 'E', 'K')),
    cause text not null check (cause in ('late', 'deleted', 'corrected', 'rule', 'code')),
    contribution numeric,
    status_before text,
    status_after text,
    primary key (candidate_id, unit_code, index_code, cause)
);
comment on table publish.candidate_difference is 'What each cause changed, against the edition that is restated. Of one unit and index the contributions add up.';
comment on column publish.candidate_difference.contribution is 'Null: before or after this cause there is no value; the statuses say why.';
comment on column publish.candidate_difference.status_before is 'Status of the index, verdict of K; null: no row.';

create view publish.edition_diff with (security_invoker = true) as
with said as (
    select edition_id, unit_code, index_code, value from publish.index_score
    union all
    select edition_id, unit_code, 'K' as index_code, k as value from publish.k_score
)
select
    e.edition_id, e.supersedes, e.period_code, d.unit_code, d.index_code, d.cause, was.value as was, now.value as now,
    d.contribution, d.status_before, d.status_after
from publish.edition as e
inner join publish.candidate_difference as d on e.candidate_id = d.candidate_id
left join said as was on e.supersedes = was.edition_id and d.unit_code = was.unit_code and d.index_code = was.index_code
left join said as now on e.edition_id = now.edition_id and d.unit_code = now.unit_code and d.index_code = now.index_code;
comment on view publish.edition_diff is 'Why an edition says something else than the one before it: a row per unit, index and cause.';

grant select on publish.candidate_difference, publish.edition_diff to hailong_gate, hailong_publisher, hailong_reader;
grant insert on publish.candidate_difference to hailong_publisher;
create trigger candidate_difference_append_only before update or delete on publish.candidate_difference
for each row execute function ops.refuse_change();
create trigger candidate_difference_no_truncate before truncate on publish.candidate_difference
for each statement execute function ops.refuse_change();
alter table publish.candidate_difference enable always trigger candidate_difference_append_only;
alter table publish.candidate_difference enable always trigger candidate_difference_no_truncate;

reset role;
grant create on schema ops to hailong_transformer;
set local role hailong_transformer;
create table ops.restated_record (
    feed text not null,
    record_key text not null,
    cause text not null check (cause in ('late', 'deleted', 'corrected')),
    primary key (feed, record_key)
);
comment on table ops.restated_record is 'While a restatement is reckoned, and there is one at a time: what happened to each record since the edition.';
reset role;
revoke create on schema ops from hailong_transformer;
