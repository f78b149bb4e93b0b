-- Grain: one row per period and unit that owes a K: what becomes of K, verdict and rank when the open texts are read otherwise.
{{ config(
    alias='k_sensitivity',
    unique_key=['period_code', 'unit_code'],
    scope="held.period_code in (" ~ touched_periods(['result', 'rating']) ~ ")",
) }}

{%- set indices = ['a', 'b', 'c', 'd', 'e'] %}

with unit_windows as (
    select * from {{ ref('core_unit_window') }}
    {%- if is_increment() %}
    where period_code in ({{ touched_periods(['result', 'rating']) }})
    {%- endif %}
),

units as (
    select * from {{ ref('dim_unit') }}
),

duties as (
    select * from {{ ref('index_duty') }}
),

policies as (
    select * from {{ ref('dim_policy_parameter') }}
),

sets as (
    select * from {{ ref('dim_reading_set') }}
),

readings as (
    select * from {{ ref('scoring_reading') }}
),

index_readings as (
    select * from {{ ref('mart_index_reading') }}
),

windows as (
    select
        unit_windows.period_code,
        unit_windows.unit_code,
        unit_windows.policy_id,
        unit_windows.window_clipped is null as may_be_ranked,
        -- Numbers are compared and sorted many times faster than names.
        row_number() over (order by unit_windows.period_code, unit_windows.unit_code)::integer as window_no,
        dense_rank() over (order by unit_windows.period_code, units.peer_group)::integer as group_no,
        policies.k_threshold,
        ('1e' || policies.rank_scale)::numeric as rank_units,
        policies.a_max + policies.b_max + policies.c_max + policies.d_max + policies.e_max as whole
    from unit_windows
    inner join units on unit_windows.unit_code = units.unit_code
    inner join policies on unit_windows.policy_id = policies.policy_id
    inner join duties on duties.index_code = 'K'
    where {{ barred_by('unit_windows', 'duties') }} is null
),

-- A missing index takes its maximum away from what K can be. A, B and C share what a result is, and must read it alike.
exact as materialized (
    select
        windows.window_no,
        windows.group_no,
        index_readings.index_code,
        index_readings.set_code,
        index_readings.kind,
        index_readings.size,
        case when index_readings.index_code in ('A', 'B', 'C') then sets.result_statuses else '' end as result_statuses,
        case
            when index_readings.status <> 'scored' then 0
            else
                coalesce(
                    case
                        when duties.is_quotient
                            then {{ quotient('index_readings.numerator', 'index_readings.denominator') }}
                    end,
                    index_readings.exact_value,
                    index_readings.value
                )
        end as value,
        case
            when index_readings.status = 'scored' then 0
            else
                case index_readings.index_code
                    {% for index in indices %}
                    when '{{ index | upper }}' then policies.{{ index }}_max
                    {% endfor %}
                end
        end as missing
    from windows
    inner join index_readings
        on windows.period_code = index_readings.period_code and windows.unit_code = index_readings.unit_code
    inner join policies on windows.policy_id = policies.policy_id
    inner join duties on index_readings.index_code = duties.index_code
    inner join sets
        on
            windows.policy_id = sets.policy_id
            and index_readings.index_code = sets.index_code
            and index_readings.set_code = sets.set_code
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

{% for index in indices[1:] %}
{%- set before = indices[loop.index0] %}
bounds_{{ index }} as (
    select
        before.window_no,
        {{ 'before.result_statuses' if index == 'b' else "''" }} as result_statuses,
        before.size + choices.size as size,
        before.missing + choices.missing as missing,
        min(before.least + choices.value) as least,
        max(before.greatest + choices.value) as greatest
    from bounds_{{ before }} as before
    inner join choices
        on
            before.window_no = choices.window_no
            and before.result_statuses = choices.result_statuses
            and choices.index_code = '{{ index | upper }}'
    group by
        before.window_no,
        {%- if index == 'b' %}
        before.result_statuses,
        {%- endif %}
        before.size + choices.size,
        before.missing + choices.missing
),

{% endfor -%}

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
        {{ k_of('extremes', 'sets', 'extremes') }} as k,
        sets.k_equal,
        extremes.k_threshold
    from extremes
    inner join sets
        on extremes.policy_id = sets.policy_id and sets.index_code = 'K' and sets.kind in ('own', 'legal_gap')
),

with_verdict as (
    select
        judged.*,
        {{ verdict('judged.k', 'judged') }} as verdict
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

{% for index in indices[1:] %}
{%- set before = indices[loop.index0] %}
flipping_{{ index }} as (
    select
        before.window_no,
        before.index_size,
        {{ 'before.result_statuses' if index == 'b' else "''" }} as result_statuses,
        before.all_sets || ' + ' || voting.set_code as all_sets,
        before.size + voting.size as size,
        before.present + voting.value as present,
        before.missing + voting.missing as missing
    from flipping_{{ before }} as before
    inner join voting
        on
            before.window_no = voting.window_no
            and before.result_statuses = voting.result_statuses
            and voting.index_code = '{{ index | upper }}'
            and before.index_size >= before.size + voting.size
),

{% endfor -%}

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
    order by flip.window_no, flipping_e.all_sets collate "C" -- noqa: RF02,RF03
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

-- Ranks: every unit of a group is read alike. Of sets that give all of them the same index, the smallest stands for all.
sets_of_group as (
    select
        group_no,
        index_code,
        result_statuses,
        set_code,
        size,
        md5(string_agg(window_no || ':' || value || ':' || missing, ',' order by window_no)) as values_of_all
    from voting
    group by group_no, index_code, result_statuses, set_code, size
),

distinct_sets as (
    select distinct on (group_no, index_code, result_statuses, values_of_all)
        group_no,
        index_code,
        result_statuses,
        set_code
    from sets_of_group
    order by group_no, index_code, result_statuses, values_of_all, size, set_code
),

ranked_choices as (
    select
        voting.window_no,
        voting.group_no,
        voting.index_code,
        voting.result_statuses,
        voting.value,
        voting.missing,
        -- The same number for the same set of a group.
        dense_rank() over (
            partition by voting.group_no, voting.index_code, voting.result_statuses order by voting.set_code
        )::integer as set_no
    from voting
    inner join distinct_sets
        on
            voting.group_no = distinct_sets.group_no
            and voting.index_code = distinct_sets.index_code
            and voting.result_statuses = distinct_sets.result_statuses
            and voting.set_code = distinct_sets.set_code
    inner join windows on voting.window_no = windows.window_no
    where windows.may_be_ranked
),

-- Two halves, each added up once for all combinations it is part of. Texts of what a result is are told apart by number.
halves_abc as materialized (
    select
        a.window_no,
        dense_rank() over (order by a.group_no, a.result_statuses, a.set_no, b.set_no, c.set_no)::integer as half_no,
        a.value + b.value + c.value as present,
        a.missing + b.missing + c.missing as missing
    from ranked_choices as a
    inner join ranked_choices as b
        on a.window_no = b.window_no and b.index_code = 'B' and a.result_statuses = b.result_statuses
    inner join ranked_choices as c
        on a.window_no = c.window_no and c.index_code = 'C' and a.result_statuses = c.result_statuses
    where a.index_code = 'A'
),

halves_de as materialized (
    select
        d.window_no,
        dense_rank() over (order by d.set_no, e.set_no)::integer as half_no,
        d.value + e.value as present,
        d.missing + e.missing as missing
    from ranked_choices as d
    inner join ranked_choices as e on d.window_no = e.window_no and e.index_code = 'E'
    where d.index_code = 'D'
),

sums as (
    select
        halves_abc.window_no,
        halves_abc.half_no as abc_no,
        halves_de.half_no as de_no,
        halves_abc.present + halves_de.present as present,
        halves_abc.missing + halves_de.missing as missing
    from halves_abc
    inner join halves_de on halves_abc.window_no = halves_de.window_no
),

-- K made of its indices as the policy itself makes it, in whole units of what ranks tell apart: integers are sorted faster.
comparable as (
    select
        sums.window_no,
        sums.abc_no,
        sums.de_no,
        ({{ k_of('sums', 'policies', 'windows') }} * windows.rank_units)::bigint as k
    from sums
    inner join windows on sums.window_no = windows.window_no
    inner join policies on windows.policy_id = policies.policy_id
    offset 0
),

ranked as (
    select
        window_no,
        rank() over (partition by abc_no, de_no order by k desc) as rank_in_group
    from comparable
    where k is not null
),

ranks as (
    select
        window_no,
        min(rank_in_group) as rank_min,
        max(rank_in_group) as rank_max
    from ranked
    group by window_no
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
        {{ k_of('apart', 'policies', 'apart') }} as k,
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
        string_agg(apart_k.set_code, '; ' order by apart_k.set_code collate "C") filter ( -- noqa: RF02,RF03
            where own.verdict is not null and {{ verdict('apart_k.k', 'apart_k') }} is distinct from own.verdict
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
