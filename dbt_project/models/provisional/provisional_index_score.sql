-- Grain: one row per period, unit and index as it stands tonight, for the City Office (Article 16.3). Not published.
{{ config(alias='index_score') }}

with indices as (
    select * from {{ ref('mart_index_score') }}
),

newest as (
    {{ newest_build() }}
)

select
    {{ stamped('newest') }},
    indices.period_code,
    indices.calendar_code,
    indices.unit_code,
    indices.index_code,
    indices.numerator,
    indices.denominator,
    indices.excluded,
    indices.value,
    indices.status,
    indices.status_reason,
    indices.policy_id,
    indices.window_start,
    indices.window_end
from indices
cross join newest
