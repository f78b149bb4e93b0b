-- The public changelog of numbers: what a later edition of a quarter or year says otherwise, of what is shown in each. And the
-- checksum of an edition's whole content is not public: who tries the few values that a small cell can have would see which one it is.
set local role hailong_owner;

drop view open.parameter;
drop view open.edition;

create view open.edition with (security_barrier = true) as
select
    e.edition_id, e.period_code, e.calendar_code, e.period_start, e.period_end, e.edition_no, e.supersedes, e.reason,
    e.policy_id, e.legal_basis, e.metric_version, e.published_at
from publish.edition as e
where exists (select 1 from publish.public_row as p where p.edition_id = e.edition_id);

create view open.parameter with (security_barrier = true) as
select p.edition_id, p.policy_id, p.parameter, p.value, p.why
from publish.edition_parameter as p
inner join open.edition as e on p.edition_id = e.edition_id;

comment on view open.edition is 'Editions of quarters and years. A month goes to the City Office and is not here.';
comment on view open.parameter is 'The parameters that an edition was computed with, and why each has its value.';
grant select on open.edition, open.parameter to hailong_open_reader, hailong_reader, hailong_publisher, hailong_gate;

create view open.change with (security_barrier = true) as
with said as (
    select edition_id, unit_code, index_code, value, status from open.index_score
    union all
    select edition_id, unit_code, 'K' as index_code, k as value, status from open.k_score
),

now as (
    select e.edition_id, e.supersedes, e.period_code, s.unit_code, s.index_code, s.value, s.status
    from open.edition as e
    inner join said as s on e.edition_id = s.edition_id
    where e.supersedes is not null
),

was as (
    select e.edition_id, e.supersedes, e.period_code, s.unit_code, s.index_code, s.value, s.status
    from open.edition as e
    inner join said as s on e.supersedes = s.edition_id
),

both_said as (
    select
        edition_id,
        supersedes,
        period_code,
        unit_code,
        index_code,
        was.value as value_was,
        now.value as value_now,
        was.status as status_was,
        now.status as status_now
    from now
    full join was using (edition_id, supersedes, period_code, unit_code, index_code)
    where was.value is distinct from now.value or was.status is distinct from now.status
)

select
    b.*,
    -- By name only: how much each of two causes did to C would tell how the few people of one of them rated.
    (
        select string_agg(distinct d.cause, ';' order by d.cause)
        from publish.edition as e
        inner join publish.candidate_difference as d on e.candidate_id = d.candidate_id
        where e.edition_id = b.edition_id and d.unit_code = b.unit_code and d.index_code = b.index_code
    ) as causes
from both_said as b;

comment on view open.change is
'Why a later edition of a quarter or year says something else: one row per edition, unit and index (K too), as both are shown.';
comment on column open.change.causes is
'late, deleted, corrected: records; rule: another policy; code: a fault of the program. Empty: only what is shown changed.';

grant select on open.change to hailong_open_reader, hailong_reader, hailong_publisher, hailong_gate;

reset role;
