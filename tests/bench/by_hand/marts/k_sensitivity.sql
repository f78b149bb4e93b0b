with windows as (
    select * from by_hand_scratch.k_window
),

policies as (
    select * from by_hand_core.dim_policy_parameter
),

sets as (
    select * from by_hand_core.dim_reading_set
),

readings as (
    select * from rules.scoring_reading
),

exact as (
    select * from by_hand_scratch.k_value
),

voting as (
    select * from exact
    where kind in ('own', 'legal_gap')
),

-- The distinct values of each index of a unit, with the fewest readings that give them.
choices as (
    select
        window_no,
        index_code,
        result_statuses,
        value,
        missing,
        min(size) as size
    from voting
    group by window_no, index_code, result_statuses, value, missing
),

-- K is a sum: of so many readings the least and the greatest add up index by index, without any combination being made.
bounds_a as (
    select
        window_no,
        result_statuses,
        size,
        missing,
        min(value) as least,
        max(value) as greatest
    from choices
    where index_code = 'A'
    group by window_no, result_statuses, size, missing
),

bounds_b as (
    select
        before.window_no,
        before.result_statuses,
        before.size + choices.size as size,
        before.missing + choices.missing as missing,
        min(before.least + choices.value) as least,
        max(before.greatest + choices.value) as greatest
    from bounds_a as before
    inner join choices
        on
            before.window_no = choices.window_no
            and before.result_statuses = choices.result_statuses
            and choices.index_code = 'B'
    group by
        before.window_no,
        before.result_statuses,
        before.size + choices.size,
        before.missing + choices.missing
),

bounds_c as (
    select
        before.window_no,
        '' as result_statuses,
        before.size + choices.size as size,
        before.missing + choices.missing as missing,
        min(before.least + choices.value) as least,
        max(before.greatest + choices.value) as greatest
    from bounds_b as before
    inner join choices
        on
            before.window_no = choices.window_no
            and before.result_statuses = choices.result_statuses
            and choices.index_code = 'C'
    group by
        before.window_no,
        before.size + choices.size,
        before.missing + choices.missing
),

bounds_d as (
    select
        before.window_no,
        '' as result_statuses,
        before.size + choices.size as size,
        before.missing + choices.missing as missing,
        min(before.least + choices.value) as least,
        max(before.greatest + choices.value) as greatest
    from bounds_c as before
    inner join choices
        on
            before.window_no = choices.window_no
            and before.result_statuses = choices.result_statuses
            and choices.index_code = 'D'
    group by
        before.window_no,
        before.size + choices.size,
        before.missing + choices.missing
),

bounds_e as (
    select
        before.window_no,
        '' as result_statuses,
        before.size + choices.size as size,
        before.missing + choices.missing as missing,
        min(before.least + choices.value) as least,
        max(before.greatest + choices.value) as greatest
    from bounds_d as before
    inner join choices
        on
            before.window_no = choices.window_no
            and before.result_statuses = choices.result_statuses
            and choices.index_code = 'E'
    group by
        before.window_no,
        before.size + choices.size,
        before.missing + choices.missing
),

extremes as (
    select distinct
        windows.window_no,
        windows.policy_id,
        windows.k_threshold,
        windows.whole,
        bounds_e.size,
        bounds_e.missing,
        extreme.present
    from bounds_e
    inner join windows on bounds_e.window_no = windows.window_no
    cross join lateral (values (bounds_e.least), (bounds_e.greatest)) as extreme (present)
),

judged as (
    select
        extremes.window_no,
        extremes.size as index_size,
        extremes.missing,
        extremes.present,
        extremes.size + sets.size as size,
        sets.set_code as k_set,
        case
            when extremes.missing = 0 or sets.missing_index = 'zero' then round(round(extremes.present, 30), sets.k_scale)
            when sets.missing_index = 'rescale' and extremes.missing < extremes.whole
                then round(
                    round(extremes.present * extremes.whole::numeric(60, 40) / nullif(extremes.whole - extremes.missing, 0), 30),
                    sets.k_scale
                )
        end as k,
        sets.k_equal,
        extremes.k_threshold
    from extremes
    inner join sets
        on extremes.policy_id = sets.policy_id and sets.index_code = 'K' and sets.kind in ('own', 'legal_gap')
),

with_verdict as (
    select
        judged.*,
        case
        when judged.k > judged.k_threshold then 'satisfied'
        when judged.k < judged.k_threshold then 'not_satisfied'
        when judged.k = judged.k_threshold then judged.k_equal
    end as verdict
    from judged
),

own as (
    select
        window_no,
        k,
        verdict
    from with_verdict
    where size = 0
),

spread as (
    select
        window_no,
        min(k) as k_min,
        max(k) as k_max
    from with_verdict
    group by window_no
),

-- The fewest readings that give another verdict, or none.
flip as (
    select distinct on (with_verdict.window_no)
        with_verdict.window_no,
        with_verdict.size,
        with_verdict.index_size,
        with_verdict.missing,
        with_verdict.present,
        with_verdict.k_set,
        with_verdict.verdict
    from with_verdict
    inner join own on with_verdict.window_no = own.window_no
    where own.verdict is not null and with_verdict.verdict is distinct from own.verdict
    order by
        with_verdict.window_no,
        with_verdict.size,
        with_verdict.k_set,
        with_verdict.present,
        with_verdict.missing
),

-- Which they are: the first combination that adds up to it. Few verdicts flip, and few readings flip them.
flipping_a as (
    select
        flip.window_no,
        flip.index_size,
        voting.result_statuses,
        voting.set_code as all_sets,
        voting.size,
        voting.value as present,
        voting.missing
    from flip
    inner join voting
        on
            flip.window_no = voting.window_no
            and voting.index_code = 'A'
            and flip.index_size >= voting.size
),

flipping_b as (
    select
        before.window_no,
        before.index_size,
        before.result_statuses,
        before.all_sets || ' + ' || voting.set_code as all_sets,
        before.size + voting.size as size,
        before.present + voting.value as present,
        before.missing + voting.missing as missing
    from flipping_a as before
    inner join voting
        on
            before.window_no = voting.window_no
            and before.result_statuses = voting.result_statuses
            and voting.index_code = 'B'
            and before.index_size >= before.size + voting.size
),

flipping_c as (
    select
        before.window_no,
        before.index_size,
        '' as result_statuses,
        before.all_sets || ' + ' || voting.set_code as all_sets,
        before.size + voting.size as size,
        before.present + voting.value as present,
        before.missing + voting.missing as missing
    from flipping_b as before
    inner join voting
        on
            before.window_no = voting.window_no
            and before.result_statuses = voting.result_statuses
            and voting.index_code = 'C'
            and before.index_size >= before.size + voting.size
),

flipping_d as (
    select
        before.window_no,
        before.index_size,
        '' as result_statuses,
        before.all_sets || ' + ' || voting.set_code as all_sets,
        before.size + voting.size as size,
        before.present + voting.value as present,
        before.missing + voting.missing as missing
    from flipping_c as before
    inner join voting
        on
            before.window_no = voting.window_no
            and before.result_statuses = voting.result_statuses
            and voting.index_code = 'D'
            and before.index_size >= before.size + voting.size
),

flipping_e as (
    select
        before.window_no,
        before.index_size,
        '' as result_statuses,
        before.all_sets || ' + ' || voting.set_code as all_sets,
        before.size + voting.size as size,
        before.present + voting.value as present,
        before.missing + voting.missing as missing
    from flipping_d as before
    inner join voting
        on
            before.window_no = voting.window_no
            and before.result_statuses = voting.result_statuses
            and voting.index_code = 'E'
            and before.index_size >= before.size + voting.size
),

flipping as (
    select distinct on (flip.window_no)
        flip.window_no,
        flip.verdict,
        flip.size,
        flipping_e.all_sets || ' + ' || flip.k_set as all_sets
    from flip
    inner join flipping_e
        on
            flip.window_no = flipping_e.window_no
            and flip.index_size = flipping_e.size
            and flip.missing = flipping_e.missing
            and flip.present = flipping_e.present
    order by flip.window_no, flipping_e.all_sets collate "C"
),

-- A reading that touches several indices is told once.
flips as (
    select
        flipping.window_no,
        flipping.verdict,
        flipping.size,
        string_agg(distinct part.reading, ' + ' order by part.reading) as readings
    from flipping
    cross join lateral string_to_table(flipping.all_sets, ' + ') as part (reading)
    where part.reading <> 'own'
    group by flipping.window_no, flipping.verdict, flipping.size
),

ranks as (
    select * from by_hand_scratch.k_rank
),

-- Our own choices, one by one: an index that the reading does not touch stays as it is.
others as (
    select distinct
        policy_id,
        set_code
    from sets
    where kind in ('method', 'shown_only')
),

apart as (
    select
        windows.window_no,
        windows.policy_id,
        windows.whole,
        others.set_code,
        sum(exact.value) as present,
        sum(exact.missing) as missing
    from windows
    inner join others on windows.policy_id = others.policy_id
    inner join exact on windows.window_no = exact.window_no
    where
        exact.set_code = others.set_code
        or (
            exact.kind = 'own'
            and not exists (
                select 1 from sets
                where
                    windows.policy_id = sets.policy_id
                    and exact.index_code = sets.index_code
                    and others.set_code = sets.set_code
            )
        )
    group by windows.window_no, windows.policy_id, windows.whole, others.set_code
),

apart_k as (
    select
        apart.window_no,
        apart.set_code,
        case
            when apart.missing = 0 or policies.missing_index = 'zero' then round(round(apart.present, 30), policies.k_scale)
            when policies.missing_index = 'rescale' and apart.missing < apart.whole
                then round(
                    round(apart.present * apart.whole::numeric(60, 40) / nullif(apart.whole - apart.missing, 0), 30),
                    policies.k_scale
                )
        end as k,
        policies.k_equal,
        policies.k_threshold
    from apart
    inner join policies on apart.policy_id = policies.policy_id
),

method as (
    select
        apart_k.window_no,
        min(apart_k.k) as k_min,
        max(apart_k.k) as k_max,
        string_agg(apart_k.set_code, '; ' order by apart_k.set_code collate "C") filter (
            where own.verdict is not null and case
        when apart_k.k > apart_k.k_threshold then 'satisfied'
        when apart_k.k < apart_k.k_threshold then 'not_satisfied'
        when apart_k.k = apart_k.k_threshold then apart_k.k_equal
    end is distinct from own.verdict
        ) as flips
    from apart_k
    inner join own on apart_k.window_no = own.window_no
    group by apart_k.window_no
),

not_computed as (
    select
        policies.policy_id,
        string_agg(
            readings.parameter || '=' || readings.value, '; ' order by readings.parameter, readings.value
        ) as readings
    from policies
    cross join readings
    where
        readings.not_computed is not null
        or (
            readings.parameter = 'result_statuses'
            and not string_to_array(readings.value, ',') <@ string_to_array(policies.result_statuses, ',')
        )
    group by policies.policy_id
)

select
    windows.period_code::text as period_code,
    windows.unit_code::text as unit_code,
    windows.policy_id::text as policy_id,
    own.k::numeric(12, 6) as k,
    own.verdict::text as verdict,
    case
        when own.verdict is null then null
        when flips.window_no is null then 'stable'
        else 'depends'
    end::text as verdict_stability,
    spread.k_min::numeric(12, 6) as k_min,
    spread.k_max::numeric(12, 6) as k_max,
    ranks.rank_min::integer as rank_min,
    ranks.rank_max::integer as rank_max,
    flips.readings::text as flipping_readings,
    flips.size::integer as flipping_size,
    case when flips.window_no is not null then coalesce(flips.verdict, 'none') end::text as flipped_verdict,
    least(method.k_min, own.k)::numeric(12, 6) as method_k_min,
    greatest(method.k_max, own.k)::numeric(12, 6) as method_k_max,
    method.flips::text as method_flips,
    not_computed.readings::text as not_computed
from windows
inner join own on windows.window_no = own.window_no
inner join spread on windows.window_no = spread.window_no
left join ranks on windows.window_no = ranks.window_no
left join flips on windows.window_no = flips.window_no
left join method on windows.window_no = method.window_no
left join not_computed on windows.policy_id = not_computed.policy_id
