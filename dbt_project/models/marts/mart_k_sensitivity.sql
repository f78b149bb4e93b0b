-- Grain: one row per period and unit that owes a K: what becomes of K, verdict and rank when the open texts are read otherwise.
{{ config(alias='k_sensitivity', unique_key=['period_code', 'unit_code']) }}

{%- set indices = ['a', 'b', 'c', 'd', 'e'] %}

with unit_windows as (
    select * from {{ ref('core_unit_window') }}
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
        units.peer_group,
        unit_windows.window_clipped is null as may_be_ranked,
        policies.k_threshold,
        policies.rank_scale,
        policies.a_max + policies.b_max + policies.c_max + policies.d_max + policies.e_max as whole
    from unit_windows
    inner join units on unit_windows.unit_code = units.unit_code
    inner join policies on unit_windows.policy_id = policies.policy_id
    inner join duties on duties.index_code = 'K'
    where {{ barred_by('unit_windows', 'duties') }} is null
),

-- A missing index takes its maximum away from what K can be.
exact as (
    select
        windows.period_code,
        windows.peer_group,
        windows.unit_code,
        index_readings.index_code,
        index_readings.set_code,
        index_readings.kind,
        index_readings.size,
        sets.result_statuses,
        coalesce(
            case
                when duties.is_quotient
                    then {{ quotient('index_readings.numerator', 'index_readings.denominator') }}
            end,
            index_readings.exact_value,
            index_readings.value
        ) as value,
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

-- Of sets that give every unit of a group the same index, the smallest stands for all.
sets_of_group as (
    select
        period_code,
        peer_group,
        index_code,
        result_statuses,
        set_code,
        size,
        md5(string_agg(unit_code || coalesce(value::text, ''), ',' order by unit_code)) as values_of_all
    from exact
    where kind in ('own', 'legal_gap')
    group by period_code, peer_group, index_code, result_statuses, set_code, size
),

voting as (
    select distinct on (period_code, peer_group, index_code, result_statuses, values_of_all)
        period_code,
        peer_group,
        index_code,
        result_statuses,
        set_code,
        size
    from sets_of_group
    order by period_code, peer_group, index_code, result_statuses, values_of_all, size, set_code
),

-- K is a sum: every combination of the five. A, B and C share what a result is, and must read it alike.
combinations as (
    select
        a.period_code,
        a.peer_group,
        {% for index in indices %}
        {{ index }}.set_code as {{ index }}_set,
        {% endfor %}
        a.size + b.size + c.size + d.size + e.size as size
    from voting as a
    {% for index in indices[1:] %}
    inner join voting as {{ index }}
        on
            a.period_code = {{ index }}.period_code
            and a.peer_group = {{ index }}.peer_group
            and {{ index }}.index_code = '{{ index | upper }}'
            {% if index in ['b', 'c'] %}
            and a.result_statuses = {{ index }}.result_statuses
            {% endif %}
    {% endfor %}
    where a.index_code = 'A'
),

sums as (
    select
        combinations.*,
        windows.unit_code,
        windows.policy_id,
        coalesce(a.value, 0) + coalesce(b.value, 0) + coalesce(c.value, 0) + coalesce(d.value, 0)
        + coalesce(e.value, 0) as present,
        a.missing + b.missing + c.missing + d.missing + e.missing as missing
    from combinations
    inner join windows
        on combinations.period_code = windows.period_code and combinations.peer_group = windows.peer_group
    {% for index in indices %}
    inner join exact as {{ index }}
        on
            windows.period_code = {{ index }}.period_code
            and windows.unit_code = {{ index }}.unit_code
            and {{ index }}.index_code = '{{ index | upper }}'
            and combinations.{{ index }}_set = {{ index }}.set_code
    {% endfor %}
),

-- Ranks: every unit of the group read alike, K made of its indices as the policy itself makes it.
ranked as (
    select
        sums.period_code,
        sums.unit_code,
        rank() over (
            partition by
                sums.period_code, windows.peer_group,
                sums.a_set, sums.b_set, sums.c_set, sums.d_set, sums.e_set
            order by round({{ k_of('sums', 'policies', 'windows') }}, policies.rank_scale) desc
        ) as rank_in_group
    from sums
    inner join policies on sums.policy_id = policies.policy_id
    inner join windows on sums.period_code = windows.period_code and sums.unit_code = windows.unit_code
    where windows.may_be_ranked and {{ k_of('sums', 'policies', 'windows') }} is not null
),

ranks as (
    select
        period_code,
        unit_code,
        min(rank_in_group) as rank_min,
        max(rank_in_group) as rank_max
    from ranked
    group by period_code, unit_code
),

-- A verdict follows K's order: of the combinations of as many readings, the least and the greatest sum decide.
bounds as (
    select
        period_code,
        unit_code,
        policy_id,
        size,
        missing,
        min(present) as least,
        max(present) as greatest
    from sums
    group by period_code, unit_code, policy_id, size, missing
),

extremes as (
    select distinct
        bounds.period_code,
        bounds.unit_code,
        bounds.policy_id,
        bounds.size,
        bounds.missing,
        extreme.present
    from bounds
    cross join lateral (values (bounds.least), (bounds.greatest)) as extreme (present)
),

judged as (
    select
        extremes.period_code,
        extremes.unit_code,
        extremes.size as index_size,
        extremes.missing,
        extremes.present,
        extremes.size + sets.size as size,
        sets.set_code as k_set,
        {{ k_of('extremes', 'sets', 'windows') }} as k,
        sets.k_equal,
        windows.k_threshold
    from extremes
    inner join sets
        on extremes.policy_id = sets.policy_id and sets.index_code = 'K' and sets.kind in ('own', 'legal_gap')
    inner join windows on extremes.period_code = windows.period_code and extremes.unit_code = windows.unit_code
),

with_verdict as (
    select
        judged.*,
        {{ verdict('judged.k', 'judged') }} as verdict
    from judged
),

own as (
    select
        period_code,
        unit_code,
        k,
        verdict
    from with_verdict
    where size = 0
),

spread as (
    select
        period_code,
        unit_code,
        min(k) as k_min,
        max(k) as k_max
    from with_verdict
    group by period_code, unit_code
),

-- The fewest readings that give another verdict, or none.
flip as (
    select distinct on (with_verdict.period_code, with_verdict.unit_code)
        with_verdict.period_code,
        with_verdict.unit_code,
        with_verdict.size,
        with_verdict.index_size,
        with_verdict.missing,
        with_verdict.present,
        with_verdict.k_set,
        with_verdict.verdict
    from with_verdict
    inner join own on with_verdict.period_code = own.period_code and with_verdict.unit_code = own.unit_code
    where own.verdict is not null and with_verdict.verdict is distinct from own.verdict
    order by
        with_verdict.period_code,
        with_verdict.unit_code,
        with_verdict.size,
        with_verdict.k_set,
        with_verdict.present,
        with_verdict.missing
),

-- Which they are: a reading that touches several indices is told once.
flipping as (
    select
        flip.period_code,
        flip.unit_code,
        flip.verdict,
        flip.size,
        concat_ws(' + ', sums.a_set, sums.b_set, sums.c_set, sums.d_set, sums.e_set, flip.k_set) as all_sets,
        row_number() over (
            partition by flip.period_code, flip.unit_code
            order by sums.a_set, sums.b_set, sums.c_set, sums.d_set, sums.e_set
        ) as place
    from flip
    inner join sums
        on
            flip.period_code = sums.period_code
            and flip.unit_code = sums.unit_code
            and flip.index_size = sums.size
            and flip.missing = sums.missing
            and flip.present = sums.present
),

flips as (
    select
        flipping.period_code,
        flipping.unit_code,
        flipping.verdict,
        flipping.size,
        string_agg(distinct part.reading, ' + ' order by part.reading) as readings
    from flipping
    cross join lateral string_to_table(flipping.all_sets, ' + ') as part (reading)
    where flipping.place = 1 and part.reading <> 'own'
    group by flipping.period_code, flipping.unit_code, flipping.verdict, flipping.size
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
        windows.period_code,
        windows.unit_code,
        windows.policy_id,
        others.set_code,
        sum(coalesce(exact.value, 0)) as present,
        sum(exact.missing) as missing
    from windows
    inner join others on windows.policy_id = others.policy_id
    inner join exact on windows.period_code = exact.period_code and windows.unit_code = exact.unit_code
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
    group by windows.period_code, windows.unit_code, windows.policy_id, others.set_code
),

apart_k as (
    select
        apart.period_code,
        apart.unit_code,
        apart.set_code,
        {{ k_of('apart', 'policies', 'windows') }} as k,
        policies.k_equal,
        policies.k_threshold
    from apart
    inner join policies on apart.policy_id = policies.policy_id
    inner join windows on apart.period_code = windows.period_code and apart.unit_code = windows.unit_code
),

method as (
    select
        apart_k.period_code,
        apart_k.unit_code,
        min(apart_k.k) as k_min,
        max(apart_k.k) as k_max,
        string_agg(apart_k.set_code, '; ' order by apart_k.set_code collate "C") filter ( -- noqa: RF02,RF03
            where own.verdict is not null and {{ verdict('apart_k.k', 'apart_k') }} is distinct from own.verdict
        ) as flips
    from apart_k
    inner join own on apart_k.period_code = own.period_code and apart_k.unit_code = own.unit_code
    group by apart_k.period_code, apart_k.unit_code
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
        when flips.unit_code is null then 'stable'
        else 'depends'
    end::text as verdict_stability,
    spread.k_min::numeric(12, 6) as k_min,
    spread.k_max::numeric(12, 6) as k_max,
    ranks.rank_min::integer as rank_min,
    ranks.rank_max::integer as rank_max,
    flips.readings::text as flipping_readings,
    flips.size::integer as flipping_size,
    case when flips.unit_code is not null then coalesce(flips.verdict, 'none') end::text as flipped_verdict,
    least(method.k_min, own.k)::numeric(12, 6) as method_k_min,
    greatest(method.k_max, own.k)::numeric(12, 6) as method_k_max,
    method.flips::text as method_flips,
    not_computed.readings::text as not_computed
from windows
inner join own on windows.period_code = own.period_code and windows.unit_code = own.unit_code
inner join spread on windows.period_code = spread.period_code and windows.unit_code = spread.unit_code
left join ranks on windows.period_code = ranks.period_code and windows.unit_code = ranks.unit_code
left join flips on windows.period_code = flips.period_code and windows.unit_code = flips.unit_code
left join method on windows.period_code = method.period_code and windows.unit_code = method.unit_code
left join not_computed on windows.policy_id = not_computed.policy_id
