-- Points by official in charge and day; what counts for another unit than the one that resolves is not this official's.
with event as (
    select
        unit_code,
        n.official,
        f.result_on as event_on,
        case
            when f.is_test_record or not f.is_received_first or f.due_on is null then null
            else coalesce((not f.is_late)::integer, 0)
        end as a_point,
        case
            when f.is_test_record or not coalesce(f.is_received_first, true) then null
            else (f.return_count <= 1)::integer
        end as b_point,
        null::integer as c_point
    from by_hand_facts.fct_dossier as f
    inner join by_hand_scratch.newest as n on f.dossier_code = n.dossier_code
    where f.is_result and f.unit_code is not null and n.op = 'upsert' and n.official is not null
    union all
    select
        rated.unit_code,
        n.official,
        rated.rated_on as event_on,
        null as a_point,
        null as b_point,
        rated.point::integer as c_point
    from by_hand_facts.fct_c_attitude as rated
    inner join by_hand_core.core_dossier as d
        on rated.dossier_code = d.dossier_code and rated.unit_code = d.resolving_unit_code
    inner join by_hand_scratch.newest as n on rated.dossier_code = n.dossier_code
    where rated.point is not null and n.op = 'upsert' and n.official is not null
)

select
    unit_code,
    official,
    event_on,
    coalesce(sum(a_point), 0) as a_points,
    count(a_point) as a_dossiers,
    coalesce(sum(b_point), 0) as b_points,
    count(b_point) as b_dossiers,
    coalesce(sum(c_point), 0) as c_points,
    count(c_point) as c_ratings
from event
where num_nonnulls(a_point, b_point, c_point) > 0
group by unit_code, official, event_on
