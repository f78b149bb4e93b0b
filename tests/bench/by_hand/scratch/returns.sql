-- What was asked for between receipt and result, under the policy and where midnights are moments.
with request as (
    select
        s.dossier_code,
        s.supplement_id,
        s.requested_at,
        s.requested_at_is_date,
        d.received_at,
        d.received_at_is_date,
        d.result_at,
        d.result_at_is_date,
        s.requested_at at time zone 'Asia/Ho_Chi_Minh' as requested,
        d.received_at at time zone 'Asia/Ho_Chi_Minh' as received,
        d.result_at at time zone 'Asia/Ho_Chi_Minh' as resulted
    from by_hand_core.core_supplement as s
    inner join by_hand_core.core_dossier as d on s.dossier_code = d.dossier_code
    where s.is_return and s.requested_at is not null and d.result_at is not null
    offset 0
),

placed as (
    select
        dossier_code,
        supplement_id,
        case
            when
                requested_at_is_date or requested::time = '00:00'
                or received_at_is_date or received::time = '00:00'
                then coalesce(received::date <= requested::date, true)
            else coalesce(received_at <= requested_at, true)
        end
        and case
            when
                requested_at_is_date or requested::time = '00:00'
                or result_at_is_date or resulted::time = '00:00'
                then requested::date <= resulted::date
            else requested_at <= result_at
        end as counts,
        case
            when requested_at_is_date or received_at_is_date then coalesce(received::date <= requested::date, true)
            else coalesce(received_at <= requested_at, true)
        end
        and case
            when requested_at_is_date or result_at_is_date then requested::date <= resulted::date
            else requested_at <= result_at
        end as counts_by_the_clock
    from request
)

select
    dossier_code,
    count(distinct supplement_id) filter (where counts) as return_count,
    count(distinct supplement_id) filter (where counts_by_the_clock) as return_count_by_the_clock
from placed
group by dossier_code
