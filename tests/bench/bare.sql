-- What only computes K: marts.k_score, its sensitivity left out, from raw in one statement. Nothing is kept, nothing checked.
-- Written for speed: the default policy's choices are in the statement's shape, its numbers come from the rules. Of a dossier one
-- aggregate says which version is in force and whether its due date ever moved; lists of supplements are opened where there are any.
with policy as (
    select
        p.policy_id,
        p.calendar_code,
        p.valid_from,
        p.valid_to,
        max(v.value) filter (where v.parameter = 'at_once_cutoff')::time as at_once_cutoff,
        max(v.value) filter (where v.parameter = 'b_max_returns')::integer as b_max_returns,
        max(v.value) filter (where v.parameter = 'd_metric_max')::numeric as d_metric_max,
        max(v.value) filter (where v.parameter = 'e_valid_days')::integer as e_valid_days,
        max(v.value) filter (where v.parameter = 'a_max')::numeric as a_max,
        max(v.value) filter (where v.parameter = 'b_max')::numeric as b_max,
        max(v.value) filter (where v.parameter = 'c_max')::numeric as c_max,
        max(v.value) filter (where v.parameter = 'd_max')::numeric as d_max,
        max(v.value) filter (where v.parameter = 'e_max')::numeric as e_max,
        max(v.value) filter (where v.parameter = 'k_scale')::integer as k_scale,
        max(v.value) filter (where v.parameter = 'k_threshold')::numeric as k_threshold,
        max(v.value) filter (where v.parameter = 'k_equal') as k_equal,
        max(v.value) filter (where v.parameter = 'rank_scale')::integer as rank_scale,
        max(v.value) filter (where v.parameter = 'near_threshold_distance')::numeric as near_threshold_distance,
        max(v.value) filter (where v.parameter = 'min_window_days')::integer as min_window_days
    from rules.scoring_policy as p
    inner join rules.scoring_policy_parameter as v on p.policy_id = v.policy_id
    group by p.policy_id, p.calendar_code, p.valid_from, p.valid_to
),

unit as (
    select * from (
        select distinct on (record_key) * from raw.unit_register
        order by record_key, batch_id desc
    ) as newest
    where op = 'upsert'
),

code as (
    select
        newest.system || '|' || newest.code_kind as kind,
        newest.source_code,
        newest.target_code
    from (
        select distinct on (record_key) * from raw.code_map
        order by record_key, batch_id desc
    ) as newest
    where newest.op = 'upsert' and newest.treatment <> 'ignored'
),

-- What each source calls our units.
unit_code as (
    select
        code.kind,
        code.source_code,
        unit.unit_code
    from code
    inner join unit on code.target_code = unit.unit_code
),

procedure as not materialized (
    select * from (
        select distinct on (record_key) * from raw.procedure_register
        order by record_key, batch_id desc
    ) as newest
    where op = 'upsert'
),

-- The calendar as lists: a day's place in them is its distance from the first one.
calendar as (
    select
        min(day) as first_day,
        array_agg(working_day_number order by day) as numbers,
        array_agg(term_ends_on order by day) as ends,
        array_agg(day order by day) filter (where is_working_day) as working_days
    from (
        select
            day,
            is_working_day,
            (count(*) filter (where is_working_day) over (order by day))::integer as working_day_number,
            min(day) filter (where is_working_day) over (
                order by day rows between current row and unbounded following
            ) as term_ends_on
        from rules.calendar_day
    ) as numbered
),

-- Codes by what they mean, as lists.
meaning as (
    select
        array_agg(code.source_code) filter (where code.kind = 'tthc|dossier_status' and code.target_code in ('8', '9', '10'))
            as results,
        array_agg(code.source_code) filter (where code.kind = 'tthc|supplement_status' and not s.is_return) as no_returns,
        array_agg(code.source_code) filter (where code.kind = 'tthc|supplement_status' and s.restarts_term) as restarts,
        array_agg(code.source_code) filter (where code.kind = 'rating|rating_question' and code.target_code = 'attitude')
            as attitudes,
        array_agg(code.source_code) filter (where code.kind = 'rating|rating_level' and l.class in ('good', 'middle')) as goods,
        array_agg(code.source_code) filter (where code.kind = 'rating|rating_channel' and c.unit_rule = 'receiving')
            as receiving
    from code
    left join rules.supplement_status as s on code.target_code = s.status_code
    left join rules.rating_level as l on code.target_code = l.level_code
    left join rules.rating_channel as c on code.target_code = c.channel_code
),

version as (
    select
        record_key,
        max(batch_id) as batch_id,
        min(batch_id) filter (where due_at is not null) as first_due_batch_id,
        min(batch_id) filter (where supplements <> '[]') as first_asked_batch_id,
        min(due_at) as least_due_at,
        max(due_at) as greatest_due_at,
        bool_and(due_at_is_date) as is_due_date,
        bool_or(due_at_is_date) as is_once_due_date
    from raw.dossier
    group by record_key
),

-- What counts for A and B: a result under the policy. Due dates come as {moment, anything when it is a date only}.
resolved as (
    select
        u.unit_code,
        r.procedure_code,
        r.received_at,
        r.result_at,
        r.received_local,
        r.result_local,
        r.is_test_record,
        coalesce(r.received_at_is_date or r.received_local::time = '00:00', false) as received_is_date,
        coalesce(r.result_at_is_date or r.result_local::time = '00:00', false) as result_is_date,
        -- The term starts again when what was asked for came in full.
        case
            when r.is_asked
                then (
                    select
                        array[
                            (item.content ->> 'due_after_at')::timestamptz,
                            case when (item.content ->> 'due_after_at_is_date')::boolean then 'epoch'::timestamptz end
                        ]
                    from jsonb_array_elements(r.supplements) as item (content)
                    where
                        item.content ->> 'status_code' = any((select meaning.restarts from meaning)::text[])
                        and item.content ->> 'received_at' is not null
                        and item.content ->> 'due_after_at' is not null
                    order by
                        (item.content ->> 'received_at')::timestamptz desc,
                        item.content ->> 'supplement_id' collate "C" desc
                    limit 1
                )
        end as restarted,
        case
            when
                r.least_due_at = r.greatest_due_at and r.is_due_date = r.is_once_due_date
                and r.first_due_batch_id < coalesce(r.first_asked_batch_id, r.first_due_batch_id + 1)
                then array[r.least_due_at, case when r.is_due_date then 'epoch'::timestamptz end]
            when r.first_due_batch_id is not null
                then (
                    select
                        coalesce(
                            (
                                select
                                    array[
                                        (item.content ->> 'due_before_at')::timestamptz,
                                        case
                                            when (item.content ->> 'due_before_at_is_date')::boolean then 'epoch'::timestamptz
                                        end
                                    ]
                                from jsonb_array_elements(f.supplements) as item (content)
                                where item.content ->> 'due_before_at' is not null
                                order by
                                    (item.content ->> 'requested_at')::timestamptz,
                                    item.content ->> 'supplement_id' collate "C"
                                limit 1
                            ),
                            array[f.due_at, case when f.due_at_is_date then 'epoch'::timestamptz end]
                        )
                    from raw.dossier as f
                    where f.record_key = r.record_key and f.batch_id = r.first_due_batch_id
                )
        end as first_due,
        case
            when r.is_asked
                then (
                    select count(distinct asked.supplement_id)
                    from (
                        select
                            item.content ->> 'supplement_id' as supplement_id,
                            (item.content ->> 'requested_at')::timestamptz as at,
                            (item.content ->> 'requested_at')::timestamptz at time zone 'Asia/Ho_Chi_Minh' as local,
                            coalesce((item.content ->> 'requested_at_is_date')::boolean, false) as is_date
                        from jsonb_array_elements(r.supplements) as item (content)
                        where
                            coalesce(
                                item.content ->> 'status_code' <> all((select meaning.no_returns from meaning)::text[]), true
                            )
                    ) as asked
                    where
                        case
                            when
                                asked.is_date or asked.local::time = '00:00'
                                or coalesce(r.received_at_is_date or r.received_local::time = '00:00', false)
                                then coalesce(r.received_local::date <= asked.local::date, true)
                            else coalesce(r.received_at <= asked.at, true)
                        end
                        and case
                            when
                                asked.is_date or asked.local::time = '00:00'
                                or coalesce(r.result_at_is_date or r.result_local::time = '00:00', false)
                                then asked.local::date <= r.result_local::date
                            else asked.at <= r.result_at
                        end
                )
            else 0
        end as return_count
    from (
        select
            version.*,
            d.resolving_unit_source_code,
            d.procedure_code,
            d.received_at,
            d.received_at_is_date,
            d.supplements,
            d.supplements <> '[]' as is_asked,
            coalesce(d.is_test_record, false) as is_test_record,
            d.received_at at time zone 'Asia/Ho_Chi_Minh' as received_local,
            coalesce(d.finished_at, d.returned_at) as result_at,
            coalesce(d.finished_at, d.returned_at) at time zone 'Asia/Ho_Chi_Minh' as result_local,
            case when d.finished_at is not null then d.finished_at_is_date else d.returned_at_is_date end as result_at_is_date
        from version
        inner join raw.dossier as d on version.record_key = d.record_key and version.batch_id = d.batch_id
        where
            d.op = 'upsert'
            and d.status_code = any((select meaning.results from meaning)::text[])
            and coalesce(d.finished_at, d.returned_at) is not null
        offset 0
    ) as r
    inner join unit_code as u on u.kind = 'tthc|unit' and r.resolving_unit_source_code = u.source_code
    inner join policy
        on
            r.result_local >= policy.valid_from
            and (policy.valid_to is null or r.result_local < policy.valid_to)
    offset 0
),

-- Without a recorded due date the procedure's own limit counts, in working days after the day of receipt.
termed as (
    select
        r.unit_code,
        r.result_at,
        r.result_local::date as event_on,
        r.result_is_date,
        r.due[1] as due_at,
        case
            when r.due is not null then r.due_local::date
            when p.is_at_once and r.received_is_date then r.received_local::date
            when p.is_at_once and r.received_local::time < (select policy.at_once_cutoff from policy) then r.received_local::date
            else (select calendar.working_days from calendar)[
                (select calendar.numbers from calendar)[r.received_local::date - (select calendar.first_day from calendar) + 1]
                + case when p.is_at_once then 1 else p.limit_working_days end
            ]
        end as term_on,
        r.result_is_date or r.due is null or r.due[2] is not null or r.due_local::time = '00:00' as is_by_date,
        r.is_test_record
        or coalesce(case
            when r.received_is_date or r.result_is_date then r.received_local::date > r.result_local::date
            else r.received_at > r.result_at
        end, false) as is_excluded,
        r.return_count <= (select policy.b_max_returns from policy) as is_guided
    from (
        select
            resolved.*,
            coalesce(resolved.restarted, resolved.first_due) as due,
            (coalesce(resolved.restarted, resolved.first_due))[1] at time zone 'Asia/Ho_Chi_Minh' as due_local,
            case
                when num_nonnulls(resolved.restarted, resolved.first_due) = 0
                    then coalesce(substring(resolved.procedure_code from '^[^.]+\.[^.]+'), resolved.procedure_code)
            end as asked_procedure
        from resolved
        offset 0
    ) as r
    left join procedure as p on r.asked_procedure = p.procedure_code
    offset 0
),

-- A term that ends on a day off ends with the next working day. Compared at the coarser precision of the two moments.
judged as (
    select
        rolled.unit_code,
        rolled.event_on,
        case
            when rolled.is_by_date or rolled.due_on <> rolled.term_on then rolled.event_on <= rolled.due_on
            else rolled.result_at <= rolled.due_at
        end as is_in_time,
        rolled.is_excluded,
        rolled.is_guided
    from (
        select
            termed.*,
            coalesce(
                (select calendar.ends from calendar)[termed.term_on - (select calendar.first_day from calendar) + 1], termed.term_on
            ) as due_on
        from termed
        offset 0
    ) as rolled
),

dossier_day as (
    select
        unit_code,
        event_on,
        count(*) filter (where not is_excluded and is_in_time) as a_points,
        count(is_in_time) filter (where not is_excluded) as a_dossiers,
        count(*) filter (where not is_excluded and is_guided) as b_points,
        count(*) filter (where not is_excluded) as b_dossiers
    from judged
    group by unit_code, event_on
),

-- Ratings of attitude, or of sources that ask no question; the unit is looked up in the dossier only where none was told.
rating as (
    select
        (r.rated_at at time zone 'Asia/Ho_Chi_Minh')::date as event_on,
        coalesce(r.level_code = any((select meaning.goods from meaning)::text[]), false) as is_good,
        coalesce(
            told.unit_code,
            case
                when r.channel_code = any((select meaning.receiving from meaning)::text[]) and r.dossier_code is null then device.unit_code
            end
        ) as unit_code,
        case when told.unit_code is null then r.dossier_code end as dossier_code,
        coalesce(r.channel_code = any((select meaning.receiving from meaning)::text[]), false) as is_receiving,
        device.unit_code as device_unit_code
    from (
        select
            record_key,
            max(batch_id) as batch_id
        from raw.rating
        group by record_key
    ) as newest
    inner join raw.rating as r on newest.record_key = r.record_key and newest.batch_id = r.batch_id
    left join unit_code as told on told.kind = 'rating|unit' and r.unit_source_code = told.source_code
    left join unit_code as device on device.kind = 'rating|device' and r.device_code = device.source_code
    where
        r.op = 'upsert'
        and (r.question_code is null or r.question_code = any((select meaning.attitudes from meaning)::text[]))
    offset 0
),

rating_day as (
    select
        placed.unit_code,
        placed.event_on,
        count(*) filter (where placed.is_good) as c_points,
        count(*) as c_ratings
    from (
        select
            rating.event_on,
            rating.is_good,
            case
                when rating.dossier_code is null then rating.unit_code
                when rating.is_receiving and d.source_code is null and not coalesce(d.is_known, false)
                    then rating.device_unit_code
                else u.unit_code
            end as unit_code
        from rating
        left join lateral (
            select
                newest.op = 'upsert' as is_known,
                case
                    when newest.op <> 'upsert' then null
                    when rating.is_receiving then newest.receiving_unit_source_code
                    else newest.resolving_unit_source_code
                end as source_code
            from (
                select * from raw.dossier as d
                where d.record_key = rating.dossier_code
                order by d.batch_id desc
                limit 1
            ) as newest
        ) as d on true
        left join unit_code as u on u.kind = 'tthc|unit' and d.source_code = u.source_code
    ) as placed
    inner join policy
        on placed.event_on >= policy.valid_from and (policy.valid_to is null or placed.event_on < policy.valid_to)
    where placed.unit_code is not null
    group by placed.unit_code, placed.event_on
),

unit_day as (
    select
        unit_code,
        event_on,
        a_points,
        a_dossiers,
        b_points,
        b_dossiers,
        0 as c_points,
        0 as c_ratings
    from dossier_day
    union all
    select
        unit_code,
        event_on,
        0 as a_points,
        0 as a_dossiers,
        0 as b_points,
        0 as b_dossiers,
        c_points,
        c_ratings
    from rating_day
),

-- Every period that the loaded events touch, every scored unit active at any moment of it.
loaded as (
    select
        (min(window_start) at time zone 'Asia/Ho_Chi_Minh')::date as loaded_from,
        (max(window_end) at time zone 'Asia/Ho_Chi_Minh')::date as loaded_to
    from ops.batch
    where feed in ('dossier', 'rating', 'portal_evaluation', 'posting_check')
),

active as (
    select
        p.*,
        policy.policy_id,
        policy.valid_from as policy_from,
        policy.valid_to as policy_to,
        policy.min_window_days,
        unit.unit_code,
        unit.unit_name,
        unit.unit_kind,
        unit.peer_group,
        unit.peer_group_name,
        unit.parent_unit_code,
        coalesce(unit.is_receiving_only, false) as is_receiving_only,
        unit.posting_places,
        greatest(p.period_start, unit.valid_from) as unit_start,
        least(p.period_end, unit.valid_to) as unit_end
    from rules.publication_calendar as p
    inner join policy
        on p.calendar_code = policy.calendar_code and (policy.valid_to is null or policy.valid_to > p.period_start)
    inner join loaded on p.period_end > loaded.loaded_from and p.period_start < loaded.loaded_to
    inner join unit
        on
            unit.is_scored
            and p.period_end > unit.valid_from
            and (unit.valid_to is null or p.period_start < unit.valid_to)
),

ruled as (
    select
        active.*,
        active.unit_end <= active.policy_from
        or (active.policy_to is not null and active.unit_start >= active.policy_to) as is_before_rule
    from active
),

bounded as (
    select
        ruled.*,
        case when ruled.is_before_rule then ruled.unit_start else greatest(ruled.unit_start, ruled.policy_from) end
            as window_start,
        case when ruled.is_before_rule then ruled.unit_end else least(ruled.unit_end, ruled.policy_to) end as window_end
    from ruled
),

unit_window as materialized (
    select
        bounded.*,
        row_number() over () as window_no,
        bounded.window_end - bounded.window_start < bounded.min_window_days as is_too_short,
        nullif(concat_ws(
            ';',
            case when bounded.unit_start > bounded.period_start then 'unit_started' end,
            case when bounded.unit_end < bounded.period_end then 'unit_ended' end,
            case when not bounded.is_before_rule and bounded.policy_from > bounded.period_start then 'policy_started' end,
            case when not bounded.is_before_rule and bounded.policy_to < bounded.period_end then 'policy_ended' end
        ), '') as window_clipped
    from bounded
),

event as (
    select
        w.window_no,
        sum(e.a_points) as a_points,
        sum(e.a_dossiers) as a_dossiers,
        sum(e.b_points) as b_points,
        sum(e.b_dossiers) as b_dossiers,
        sum(e.c_points) as c_points,
        sum(e.c_ratings) as c_ratings
    from unit_window as w
    inner join unit_day as e
        on w.unit_code = e.unit_code and w.window_start <= e.event_on and w.window_end > e.event_on
    group by w.window_no
),

-- The portal's latest answer for the whole period.
portal as (
    select distinct on (u.unit_code, newest.window_from, newest.window_to)
        u.unit_code,
        newest.window_from,
        newest.window_to,
        newest.total_score,
        newest.total_petitions,
        newest.metric_version,
        newest.metrics
    from (
        select distinct on (record_key) * from raw.portal_evaluation
        order by record_key, batch_id desc
    ) as newest
    inner join unit_code as u on u.kind = 'portal|unit' and newest.department_id = u.source_code
    where
        newest.op = 'upsert'
        and (newest.group_code, newest.metric_version) in (
            select
                m.group_code,
                m.metric_version
            from rules.portal_metric as m
        )
    order by u.unit_code, newest.window_from, newest.window_to, newest.batch_id desc, newest.record_key
),

petition as (
    select
        portal.unit_code,
        portal.window_from,
        portal.window_to,
        portal.total_score,
        portal.total_petitions,
        portal.metric_version,
        metric.*
    from portal
    cross join lateral (
        select
            max((item.content ->> 'numerator')::numeric) filter (where m.metric = 'on_time') as on_time_good,
            max((item.content ->> 'denominator')::numeric) filter (where m.metric = 'on_time') as on_time_all,
            max((item.content ->> 'numerator')::numeric) filter (where m.metric = 'handling') as handling_good,
            max((item.content ->> 'denominator')::numeric) filter (where m.metric = 'handling') as handling_all
        from jsonb_array_elements(portal.metrics) as item (content)
        inner join rules.portal_metric as m on item.content ->> 'code' = m.metric_code
    ) as metric
),

-- Of each place where the unit must post the checks of the latest day, if that is not too long ago.
checked as (
    select
        u.unit_code,
        place.target_code as place_code,
        newest.checked_on,
        bool_and(result.target_code = 'pass') as is_passed
    from (
        select distinct on (record_key) * from raw.posting_check
        order by record_key, batch_id desc
    ) as newest
    inner join unit_code as u on u.kind = 'inspection|unit' and newest.unit_source_code = u.source_code
    inner join code as place on place.kind = 'inspection|posting_place' and newest.place_source_code = place.source_code
    inner join code as result on result.kind = 'inspection|posting_result' and newest.result_source_code = result.source_code
    where newest.op = 'upsert' and place.target_code is not null and result.target_code is not null
    group by u.unit_code, place.target_code, newest.checked_on
),

posted as (
    select
        required.window_no,
        count(*) as places,
        count(required.is_passed) as checked,
        count(*) filter (where required.is_passed) as passed
    from (
        select distinct on (w.window_no, place.place_code)
            w.window_no,
            place.place_code,
            checked.is_passed
        from unit_window as w
        cross join policy
        cross join lateral (
            select distinct trim(listed.place_code) as place_code
            from string_to_table(w.posting_places, ';') as listed (place_code)
            where trim(listed.place_code) <> ''
        ) as place
        left join checked
            on
                w.unit_code = checked.unit_code
                and place.place_code = checked.place_code
                and w.window_end - 1 >= checked.checked_on
                and w.window_end - 1 - checked.checked_on <= policy.e_valid_days
        order by w.window_no, place.place_code, checked.checked_on desc nulls last
    ) as required
    group by required.window_no
),

measured as (
    select
        w.window_no,
        measure.index_code,
        measure.maximum,
        measure.exact,
        barred.reason,
        coalesce(
            case when barred.reason = 'before_policy' then 'before_rule' when barred.reason is not null then 'not_applicable' end,
            measure.status
        ) as status
    from unit_window as w
    cross join policy
    left join event on w.window_no = event.window_no
    left join petition
        on w.unit_code = petition.unit_code and w.period_start = petition.window_from and w.period_end - 1 = petition.window_to
    left join posted on w.window_no = posted.window_no
    cross join lateral (
        values
        (
            'A', policy.a_max, event.a_points::numeric(60, 40) / nullif(event.a_dossiers, 0),
            case when event.a_dossiers > 0 then 'scored' else 'no_data' end
        ),
        (
            'B', policy.b_max, event.b_points::numeric(60, 40) / nullif(event.b_dossiers, 0),
            case when event.b_dossiers > 0 then 'scored' else 'no_data' end
        ),
        (
            'C', policy.c_max, event.c_points::numeric(60, 40) / nullif(event.c_ratings, 0),
            case when event.c_ratings > 0 then 'scored' else 'no_data' end
        ),
        (
            'D', policy.d_max, petition.total_score,
            case
                when petition.total_score is not null then 'scored'
                when petition.total_petitions > 0 then 'blocked_by_quality'
                else 'no_data'
            end
        ),
        (
            'E', policy.e_max, case when posted.checked = posted.places then (posted.passed = posted.places)::integer end,
            case
                when coalesce(posted.places, 0) = 0 then 'not_applicable'
                when posted.checked < posted.places then 'awaiting_input'
                else 'scored'
            end
        )
    ) as measure (index_code, maximum, exact, status)
    inner join rules.index_duty as duty on measure.index_code = duty.index_code
    cross join lateral (
        select
            case
                when w.is_before_rule then 'before_policy'
                when w.parent_unit_code is not null and not duty.owed_by_sub_unit then 'sub_unit'
                when w.is_receiving_only and not duty.owed_by_receiving_unit then 'receiving_only'
                when w.is_too_short then 'window_too_short'
            end as reason
    ) as barred
),

total as (
    select
        window_no,
        max(exact) filter (where index_code = 'A' and status = 'scored') as a,
        max(exact) filter (where index_code = 'B' and status = 'scored') as b,
        max(exact) filter (where index_code = 'C' and status = 'scored') as c,
        max(exact) filter (where index_code = 'D' and status = 'scored') as d,
        max(exact) filter (where index_code = 'E' and status = 'scored') as e,
        coalesce(sum(exact) filter (where status = 'scored'), 0) as present,
        coalesce(sum(maximum) filter (where status <> 'scored'), 0) as missing_maximum,
        string_agg(index_code || ':' || status, ',' order by index_code) filter (where status <> 'scored') as missing
    from measured
    group by window_no
),

scored as (
    select
        w.*,
        total.a,
        total.b,
        total.c,
        total.d,
        total.e,
        total.present,
        total.present + total.missing_maximum as possible,
        total.missing,
        barred.reason,
        case
            when barred.reason = 'before_policy' then 'before_rule'
            when barred.reason is not null then 'not_applicable'
            when total.missing is null then 'scored'
            else 'incomplete'
        end as status,
        case
            when barred.reason is null and total.missing is null then round(round(total.present, 30), policy.k_scale)
        end as k,
        policy.k_threshold,
        policy.k_equal,
        policy.k_scale,
        policy.rank_scale,
        policy.near_threshold_distance,
        policy.d_metric_max,
        petition.on_time_good,
        petition.on_time_all,
        petition.handling_good,
        petition.handling_all,
        petition.metric_version
    from total
    inner join unit_window as w on total.window_no = w.window_no
    cross join policy
    left join petition
        on w.unit_code = petition.unit_code and w.period_start = petition.window_from and w.period_end - 1 = petition.window_to
    inner join rules.index_duty as duty on duty.index_code = 'K'
    cross join lateral (
        select
            case
                when w.is_before_rule then 'before_policy'
                when w.parent_unit_code is not null and not duty.owed_by_sub_unit then 'sub_unit'
                when w.is_receiving_only and not duty.owed_by_receiving_unit then 'receiving_only'
                when w.is_too_short then 'window_too_short'
            end as reason
    ) as barred
),

judged_k as (
    select
        scored.*,
        case
            when scored.k > scored.k_threshold then 'satisfied'
            when scored.k < scored.k_threshold then 'not_satisfied'
            when scored.k = scored.k_threshold then scored.k_equal
        end as verdict
    from scored
)

select
    s.period_code,
    s.calendar_code,
    s.unit_code,
    s.unit_name,
    s.peer_group,
    s.peer_group_name,
    s.unit_kind,
    s.parent_unit_code,
    round(s.a, 15) as a,
    round(s.b, 15) as b,
    round(s.c, 15) as c,
    s.d::numeric(20, 15) as d,
    s.e::numeric(20, 15) as e,
    s.k,
    s.verdict,
    case
        when s.status <> 'incomplete' then null
        when round(round(s.present, 30), s.k_scale) > s.k_threshold then 'satisfied_whatever'
        when round(round(s.possible, 30), s.k_scale) < s.k_threshold then 'not_satisfied_whatever'
        else 'open'
    end as verdict_bound,
    s.status,
    coalesce(s.reason, s.missing) as status_reason,
    case
        when s.k is not null and s.window_clipped is null
            then rank() over (
                    partition by s.period_code, s.peer_group, s.k is not null and s.window_clipped is null
                    order by round(s.k, s.rank_scale) desc
                )
    end::integer as rank_in_group,
    s.window_start,
    s.window_end,
    s.window_clipped,
    -- One petition more or fewer, good or bad: would the verdict be another?
    coalesce(s.status = 'scored' and (
        select
            bool_or(
                case
                    when changed.k > s.k_threshold then 'satisfied'
                    when changed.k < s.k_threshold then 'not_satisfied'
                    when changed.k = s.k_threshold then s.k_equal
                end <> s.verdict
            )
        from (
            select
                round(round(
                    s.present
                    + case
                        when s.on_time_all + change.more = 0 then s.d_metric_max
                        else (s.d_metric_max * (s.on_time_good + change.good))::numeric(60, 40) / (s.on_time_all + change.more)
                    end
                    - case
                        when s.on_time_all = 0 then s.d_metric_max
                        else (s.d_metric_max * s.on_time_good)::numeric(60, 40) / s.on_time_all
                    end
                    + case
                        when s.handling_all + change.more = 0 then s.d_metric_max
                        else (s.d_metric_max * (s.handling_good + change.good))::numeric(60, 40) / (s.handling_all + change.more)
                    end
                    - case
                        when s.handling_all = 0 then s.d_metric_max
                        else (s.d_metric_max * s.handling_good)::numeric(60, 40) / s.handling_all
                    end, 30
                ), s.k_scale) as k
            from (values (0, 1), (1, 1), (0, -1), (-1, -1)) as change (good, more)
            where
                case
                    when change.more > 0 then true
                    when change.good < 0 then s.on_time_good > 0 and s.handling_good > 0
                    else s.on_time_good < s.on_time_all and s.handling_good < s.handling_all
                end
        ) as changed
    ), false) as small_sample,
    coalesce(abs(s.k - s.k_threshold) <= s.near_threshold_distance, false) as near_threshold,
    coalesce(s.on_time_all = 0, false) as no_petitions,
    s.policy_id,
    s.metric_version
from judged_k as s
