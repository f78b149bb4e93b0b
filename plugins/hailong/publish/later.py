"""What came too late: annexes that hold every published period against the warehouse as it stands tonight.

They are copied with a candidate, and say what its report says of late arrivals for ever. A candidate may itself be the copy of
a past state; beside the editions of other periods its own period is held against tonight too.
"""

from __future__ import annotations

# The newest edition of every other period, and the copy that is being made (edition_id null): what was said, and out of what.
SAID = """
    said as (
        select edition_id, period_code, calendar_code, period_start, period_end, as_of_batch, rules_sha256
        from publish.edition as e
        where
            not exists (select 1 from publish.edition as newer where newer.supersedes = e.edition_id)
            and e.period_code <> (select c.period_code from publish.candidate as c where c.candidate_id = %(candidate)s)
        union all
        select null, period_code, calendar_code, period_start, period_end, as_of_batch, rules_sha256
        from publish.candidate
        where candidate_id = %(candidate)s
    ),

    said_k as (
        select k.*, s.edition_id as said_as, s.as_of_batch
        from said as s
        inner join (
            select edition_id, period_code, unit_code, k, verdict, status, status_reason, window_start, window_end
            from publish.k_score
            union all
            select null, period_code, unit_code, k, verdict, status, status_reason, window_start, window_end
            from publish.candidate_k_score
            where candidate_id = %(candidate)s
        ) as k on s.period_code = k.period_code and s.edition_id is not distinct from k.edition_id
    )
"""

# What is said otherwise tonight. A period that tonight's calendar cuts otherwise, or that nobody builds any more, is not held
# against anything: nothing is known of it, which is not that nothing changed.
DIFFERENCES = (
    SAID
    + """,

    standing as (
        select s.edition_id, s.period_code
        from said as s
        inner join {now_core}.dim_period as p
            on
                s.period_code = p.period_code and s.calendar_code = p.calendar_code
                and s.period_start = p.period_start and s.period_end = p.period_end
    ),

    said_indices as (
        select s.edition_id as said_as, i.*
        from standing as s
        inner join (
            select
                edition_id, period_code, unit_code, index_code, numerator, denominator, excluded, value, status, status_reason
            from publish.index_score
            union all
            select null, period_code, unit_code, index_code, numerator, denominator, excluded, value, status, status_reason
            from publish.candidate_index_score
            where candidate_id = %(candidate)s
        ) as i on s.period_code = i.period_code and s.edition_id is not distinct from i.edition_id
    ),

    indices_now as (
        select
            s.edition_id as said_as, s.period_code, i.unit_code, i.index_code, i.numerator, i.denominator, i.excluded, i.value,
            i.status, i.status_reason
        from standing as s
        inner join {now_marts}.index_score as i on s.period_code = i.period_code
    ),

    other_indices as (
        select
            coalesce(was.period_code, now.period_code) as period_code,
            coalesce(was.unit_code, now.unit_code) as unit_code,
            string_agg(
                coalesce(was.index_code, now.index_code), ',' order by coalesce(was.index_code, now.index_code)
            ) as indices
        from said_indices as was
        full join indices_now as now
            on was.period_code = now.period_code and was.unit_code = now.unit_code and was.index_code = now.index_code
        where
            (was.numerator, was.denominator, was.excluded, was.value, was.status, was.status_reason)
            is distinct from (now.numerator, now.denominator, now.excluded, now.value, now.status, now.status_reason)
        group by 1, 2
    ),

    both_k as (
        select
            coalesce(was.period_code, now.period_code) as period_code,
            coalesce(was.unit_code, now.unit_code) as unit_code,
            was.k as k_was, now.k as k_now, was.verdict as verdict_was, now.verdict as verdict_now,
            was.status as status_was, now.status as status_now,
            was.status_reason as reason_was, now.status_reason as reason_now,
            was.k is distinct from now.k as is_other_k,
            was.verdict is distinct from now.verdict as is_other_verdict
        from (select said_k.* from said_k inner join standing using (period_code)) as was
        full join (
            select k.period_code, k.unit_code, k.k, k.verdict, k.status, k.status_reason
            from standing as s inner join {now_marts}.k_score as k on s.period_code = k.period_code
        ) as now on was.period_code = now.period_code and was.unit_code = now.unit_code
    ),

    differing as (
        select both_k.*, other_indices.indices
        from both_k
        left join other_indices using (period_code, unit_code)
        where
            other_indices.indices is not null or both_k.is_other_k or both_k.is_other_verdict
            or (both_k.status_was, both_k.reason_was) is distinct from (both_k.status_now, both_k.reason_now)
    )
"""
)

LATER = {
    # A row per period that was said: how many of its units would be said otherwise; null where nobody can know.
    "later_period": f"""
        with {DIFFERENCES}
        select
            s.edition_id, s.period_code, s.as_of_batch, %(built_to)s::bigint as built_to,
            s.rules_sha256 = %(rules)s as is_by_same_rules, standing.period_code is not null as is_built,
            case when standing.period_code is not null then changed.units end as units,
            case when standing.period_code is not null then changed.units_other_k end as units_other_k,
            case when standing.period_code is not null then changed.units_other_verdict end as units_other_verdict
        from said as s
        left join standing on s.period_code = standing.period_code
        cross join lateral (
            select
                count(*) as units,
                count(*) filter (where d.is_other_k) as units_other_k,
                count(*) filter (where d.is_other_verdict) as units_other_verdict
            from differing as d
            where d.period_code = s.period_code
        ) as changed
    """,
    # A row per period and unit that would be said otherwise. Null on one side: the unit has no row there.
    "later_effect": f"""
        with {DIFFERENCES}
        select
            s.edition_id, d.period_code, d.unit_code, d.indices, d.k_was, d.k_now, d.verdict_was, d.verdict_now,
            d.status_was, d.status_now, d.reason_was, d.reason_now, d.is_other_k, d.is_other_verdict
        from differing as d
        inner join said as s on d.period_code = s.period_code
    """,
    # A row per period, unit and kind of record: those that came after the last batch that was counted, in the unit's window of
    # that time. late: nothing was known of it then; changed: a newer version came. Counted by day and batch first: few of them.
    "later_record": f"""
        with {SAID},

        reach as (
            select min(as_of_batch) as batch_id, max(period_end) as period_end from said
        ),

        came as (
            select
                'dossier_received' as measure, c.resolving_unit_code as unit_code, c.received_on as event_on,
                c.first_batch_id, c.batch_id, count(*) as records
            from {{now_core}}.core_dossier as c, reach
            where c.batch_id > reach.batch_id and c.received_on < reach.period_end
            group by c.resolving_unit_code, c.received_on, c.first_batch_id, c.batch_id
            union all
            select
                'dossier_resolved', f.unit_code, f.result_on, f.first_result_batch_id, c.batch_id, count(*)
            from {{now_facts}}.fct_dossier as f
            inner join {{now_core}}.core_dossier as c on f.dossier_code = c.dossier_code, reach
            where f.is_result and c.batch_id > reach.batch_id and f.result_on < reach.period_end
            group by f.unit_code, f.result_on, f.first_result_batch_id, c.batch_id
            union all
            select
                'rating', r.unit_code, r.rated_on, r.first_batch_id, r.batch_id, count(*)
            from {{now_core}}.core_rating as r
            inner join {{now_facts}}.fct_c_population as p on r.rating_id = p.rating_id, reach
            where r.batch_id > reach.batch_id and r.rated_on < reach.period_end
            group by r.unit_code, r.rated_on, r.first_batch_id, r.batch_id
            union all
            select
                'petition', p.unit_code, p.received_on, p.first_batch_id, p.batch_id, count(*)
            from {{now_core}}.core_petition as p, reach
            where p.batch_id > reach.batch_id and p.received_on < reach.period_end
            group by p.unit_code, p.received_on, p.first_batch_id, p.batch_id
        )

        select
            k.said_as as edition_id, k.period_code, k.unit_code, came.measure,
            coalesce(sum(came.records) filter (where came.first_batch_id > k.as_of_batch), 0)::bigint as late,
            coalesce(sum(came.records) filter (where came.first_batch_id <= k.as_of_batch), 0)::bigint as changed
        from said_k as k
        inner join came
            on
                k.unit_code = came.unit_code and came.event_on >= k.window_start and came.event_on < k.window_end
                and came.batch_id > k.as_of_batch
        group by k.said_as, k.period_code, k.unit_code, came.measure
    """,
}
