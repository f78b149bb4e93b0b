-- What the public may read: quarters and years only (Article 10), without what would tell how a few people rated (Article 3.4).
do $$
begin
    begin
        create role hailong_open_reader nologin;
    exception when duplicate_object or unique_violation then
        null; -- another database of this server made it, maybe this very moment
    end;
    if not pg_has_role(current_user, 'hailong_open_reader', 'member') then
        grant hailong_open_reader to current_user;
    end if;
end
$$;

create schema open authorization hailong_owner;

set local role hailong_owner;

create table publish.public_row (
    edition_id text not null references publish.edition (edition_id),
    unit_code text not null,
    c_hidden_because text check (
        c_hidden_because in ('few_ratings', 'between_editions', 'between_periods', 'parts_not_published')
    ),
    verdict text,
    verdict_bound text,
    primary key (edition_id, unit_code),
    foreign key (edition_id, unit_code) references publish.k_score (edition_id, unit_code)
);
comment on table publish.public_row is
'Of each unit of a quarter or year, what the public is shown; decided once, when the edition is published.';
comment on column publish.public_row.c_hidden_because is
'Why index C, its counts and all that reveals it are hidden; null: nothing is.';
comment on column publish.public_row.verdict is 'The verdict where nothing is hidden, or where every C from 0 to 1 gives it.';
comment on column publish.public_row.verdict_bound is 'What holds for an incomplete K whatever is missing or hidden.';

create trigger public_row_append_only before update or delete on publish.public_row
for each row execute function ops.refuse_change();
create trigger public_row_no_truncate before truncate on publish.public_row
for each statement execute function ops.refuse_change();
alter table publish.public_row enable always trigger public_row_append_only;
alter table publish.public_row enable always trigger public_row_no_truncate;

grant select on publish.public_row to hailong_gate, hailong_publisher, hailong_reader;
grant insert on publish.public_row to hailong_publisher;

-- An edition is open when it has been decided what of it is shown; a month never is.
create view open.edition with (security_barrier = true) as
select
    e.edition_id, e.period_code, e.calendar_code, e.period_start, e.period_end, e.edition_no, e.supersedes, e.reason,
    e.policy_id, e.legal_basis, e.metric_version, e.content_sha256, e.published_at
from publish.edition as e
where exists (select 1 from publish.public_row as p where p.edition_id = e.edition_id);

create view open.parameter with (security_barrier = true) as
select p.edition_id, p.policy_id, p.parameter, p.value, p.why
from publish.edition_parameter as p
inner join open.edition as e on p.edition_id = e.edition_id;

create view open.index_score with (security_barrier = true) as
select
    i.edition_id,
    i.period_code,
    i.unit_code,
    i.index_code,
    case when not h.hidden then i.numerator end as numerator,
    case when not h.hidden then i.denominator end as denominator,
    case when not h.hidden then i.excluded end as excluded,
    case when not h.hidden then i.value end as value,
    case when h.hidden then 'suppressed' else i.status end as status,
    case when not h.hidden then i.status_reason end as status_reason
from publish.index_score as i
inner join publish.public_row as p on i.edition_id = p.edition_id and i.unit_code = p.unit_code
cross join lateral (select i.index_code = 'C' and p.c_hidden_because is not null as hidden) as h;

create view open.k_score with (security_barrier = true) as
with shown as (
    select
        k.*,
        p.verdict as public_verdict,
        p.verdict_bound as public_verdict_bound,
        p.c_hidden_because is not null as hidden
    from publish.k_score as k
    inner join publish.public_row as p on k.edition_id = p.edition_id and k.unit_code = p.unit_code
)
select
    s.edition_id,
    s.period_code,
    s.unit_code,
    s.unit_name,
    s.unit_kind,
    s.peer_group,
    s.peer_group_name,
    s.a,
    s.b,
    case when not s.hidden then s.c end as c,
    s.d,
    s.e,
    case when not s.hidden then s.k end as k,
    s.public_verdict as verdict,
    s.public_verdict_bound as verdict_bound,
    case when s.hidden and s.k is not null then 'suppressed' else s.status end as status,
    s.status_reason,
    case
        when not s.hidden and s.rank_in_group is not null then
            rank() over (
                partition by s.edition_id, s.peer_group, not s.hidden and s.rank_in_group is not null
                order by round(s.k, r.value::integer) desc
            )
    end as rank_among_shown,
    s.window_start,
    s.window_end,
    s.window_clipped,
    case when not s.hidden then s.verdict_stability end as verdict_stability,
    case when not s.hidden then s.k_min end as k_min,
    case when not s.hidden then s.k_max end as k_max,
    case when not s.hidden then s.small_sample end as small_sample,
    case when not s.hidden then s.near_threshold end as near_threshold,
    s.no_petitions
from shown as s
inner join publish.edition_parameter as r on s.edition_id = r.edition_id and r.parameter = 'rank_scale';

create view open.group_score with (security_barrier = true) as
select
    k.edition_id,
    k.period_code,
    coalesce(k.peer_group, 'all') as peer_group,
    count(*) as units,
    count(*) filter (where k.status = 'scored') as units_with_k,
    count(*) filter (where k.status = 'suppressed') as units_suppressed,
    count(*) filter (where k.verdict = 'satisfied') as satisfied,
    count(*) filter (where k.verdict = 'not_satisfied') as not_satisfied,
    count(*) filter (where k.verdict = 'undetermined') as undetermined,
    sum(a.numerator) as a_numerator,
    sum(a.denominator) as a_denominator,
    sum(b.numerator) as b_numerator,
    sum(b.denominator) as b_denominator,
    count(c.denominator) as c_units,
    sum(c.numerator) as c_numerator,
    sum(c.denominator) as c_denominator,
    count(*) filter (where k.e = 1) as e_full,
    count(k.e) as e_units,
    percentile_disc(0.25) within group (order by k.k) as k_quartile_1,
    percentile_disc(0.5) within group (order by k.k) as k_median,
    percentile_disc(0.75) within group (order by k.k) as k_quartile_3
from open.k_score as k
inner join open.index_score as a on k.edition_id = a.edition_id and k.unit_code = a.unit_code and a.index_code = 'A'
inner join open.index_score as b on k.edition_id = b.edition_id and k.unit_code = b.unit_code and b.index_code = 'B'
inner join open.index_score as c on k.edition_id = c.edition_id and k.unit_code = c.unit_code and c.index_code = 'C'
group by grouping sets ((k.edition_id, k.period_code, k.peer_group), (k.edition_id, k.period_code));

comment on schema open is 'What the public reads: quarters and years, small cells suppressed. Nothing else is granted to hailong_open_reader.';
comment on view open.edition is 'Editions of quarters and years. A month goes to the City Office and is not here.';
comment on view open.parameter is 'The parameters that an edition was computed with, and why each has its value.';
comment on view open.index_score is 'One row per edition, unit and index. status suppressed: few people rated, or the figure would tell how few did.';
comment on view open.k_score is 'One row per edition and unit. status suppressed: K would reveal a suppressed C; the verdict is shown where every C gives it.';
comment on column open.k_score.rank_among_shown is
'Rank in the peer group among the units whose K is shown: a rank among all would place the others.';
comment on view open.group_score is
'One row per edition and peer group, and one for all units: pooled counts of what is shown above, so that they reveal nothing more; no K.';
comment on column open.group_score.c_units is 'Units whose ratings are in c_numerator and c_denominator; suppressed ones are not.';

grant usage on schema open to hailong_open_reader, hailong_reader, hailong_publisher, hailong_gate;
grant select on all tables in schema open to hailong_open_reader, hailong_reader, hailong_publisher, hailong_gate;

reset role;
