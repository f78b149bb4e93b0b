-- Grain: one row per period, unit of the login that asks, and index, as the unit may see it tonight (Articles 3.4, 16.3). Not published.
{{ config(alias='unit_index_score', post_hook="{{ of_own_units() }}") }}

with indices as (
    select * from {{ ref('mart_index_score') }}
),

newest as (
    {{ newest_build() }}
),

own as (
    {{ own_units() }}
),

{{ c_kept_from_units() }},

judged as (
    select
        indices.*,
        coalesce(indices.index_code = 'C' and kept.unit_code is not null, false) as is_kept
    from indices
    left join kept on indices.period_code = kept.period_code and indices.unit_code = kept.unit_code
)

select
    {{ stamped('newest') }},
    judged.period_code,
    judged.calendar_code,
    judged.unit_code,
    judged.index_code,
    case when not judged.is_kept then judged.numerator end::numeric as numerator,
    case when not judged.is_kept then judged.denominator end::numeric as denominator,
    case when not judged.is_kept then judged.excluded end::bigint as excluded,
    case when not judged.is_kept then judged.value end::numeric(20, 15) as value,
    case when judged.is_kept then 'suppressed' else judged.status end::text as status,
    case when not judged.is_kept then judged.status_reason end::text as status_reason,
    judged.policy_id,
    judged.window_start,
    judged.window_end
from judged
inner join own on judged.unit_code = own.unit_code
cross join newest
