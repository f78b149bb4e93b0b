-- Evaluations by others in public (Article 10.1): of quarters and years, what was due. A survey's figures are citizens' opinions, so
-- they are hidden where few answered (Article 3.4), and where another figure that is public already holds some of the same
-- answers: the difference would be those of a few. What is not small and was not said before needs no secret.
set local role hailong_owner;

create view open.evaluation with (security_barrier = true) as
with told as (
    select
        e.edition_id,
        e.period_code,
        e.period_start,
        e.period_end,
        e.published_at,
        a.unit_code,
        a.content ->> 'evaluator_kind' as evaluator_kind,
        a.content ->> 'status' as status,
        a.content ->> 'status_reason' as status_reason,
        (a.content ->> 'line_count')::bigint as line_count,
        (a.content ->> 'score')::numeric as score,
        (a.content ->> 'max_score')::numeric as max_score,
        (a.content ->> 'share')::numeric as share,
        (a.content ->> 'rank')::integer as rank,
        (a.content ->> 'last_on')::date as last_on,
        (a.content ->> 'is_small')::boolean is distinct from false as is_small
    from open.edition as e
    inner join publish.annex as a on e.edition_id = a.edition_id and a.annex = 'evaluation'
    where (a.content ->> 'is_due')::boolean
)

select
    t.edition_id,
    t.period_code,
    t.unit_code,
    t.evaluator_kind,
    case when h.hidden then 'suppressed' else t.status end as status,
    case when not h.hidden then t.status_reason end as status_reason,
    case when not h.hidden then t.line_count end as line_count,
    case when not h.hidden then t.score end as score,
    case when not h.hidden then t.max_score end as max_score,
    case when not h.hidden then t.share end as share,
    case when not h.hidden then t.rank end as rank,
    case when not h.hidden then t.last_on end as last_on
from told as t
cross join lateral (
    select
        t.status = 'scored'
        and (
            t.is_small
            or exists (
                select 1
                from told as said
                where
                    t.evaluator_kind = 'organisation' and said.evaluator_kind = t.evaluator_kind
                    and said.unit_code = t.unit_code and said.published_at < t.published_at
                    and said.period_start < t.period_end and said.period_end > t.period_start
                    and said.status = 'scored' and not said.is_small
                    and (said.line_count, said.score, said.max_score) is distinct from (t.line_count, t.score, t.max_score)
            )
        ) as hidden
) as h;

create view open.evaluation_change with (security_barrier = true) as
with now as (
    select e.edition_id, e.supersedes, e.period_code, s.unit_code, s.evaluator_kind, s.share, s.status
    from open.edition as e
    inner join open.evaluation as s on e.edition_id = s.edition_id
    where exists (select 1 from open.evaluation as earlier where earlier.edition_id = e.supersedes)
),

was as (
    select e.edition_id, e.supersedes, e.period_code, s.unit_code, s.evaluator_kind, s.share, s.status
    from open.edition as e
    inner join open.evaluation as s on e.supersedes = s.edition_id
    where exists (select 1 from open.evaluation as later where later.edition_id = e.edition_id)
)

select
    edition_id,
    supersedes,
    period_code,
    unit_code,
    evaluator_kind,
    was.share as share_was,
    now.share as share_now,
    was.status as status_was,
    now.status as status_now
from now
full join was using (edition_id, supersedes, period_code, unit_code, evaluator_kind)
where was.share is distinct from now.share or was.status is distinct from now.status;

comment on view open.evaluation is
'Evaluations within the unit, by itself, by the authority and by organisations: one row per edition, unit and kind that was due.';
comment on column open.evaluation.status is
'suppressed: few people answered, or the figure and another one that is public would tell how few did.';
comment on view open.evaluation_change is
'What a later edition of a quarter or year says otherwise of evaluations: one row per edition, unit and kind, as both are shown.';

grant select on open.evaluation, open.evaluation_change to hailong_open_reader, hailong_reader, hailong_publisher, hailong_gate;

reset role;
