-- Grain: one row per period and unit with scores of officials: how many of its dossiers name one, and under which keys.
{{ config(unique_key=['period_code', 'unit_code']) }}

with scores as (
    select * from {{ ref('official_score') }}
),

indices as (
    select * from {{ ref('mart_index_score') }}
    where index_code = 'A'
),

counted as (
    select
        period_code,
        unit_code,
        count(*) as officials,
        string_agg(distinct key_id, ',' order by key_id) as key_ids,
        bool_or(is_split_by_key) as is_split_by_key,
        sum(a_dossiers) as a_dossiers_named
    from scores
    group by period_code, unit_code
)

select
    counted.period_code::text as period_code,
    counted.unit_code::text as unit_code,
    counted.officials::bigint as officials,
    counted.key_ids::text as key_ids,
    counted.is_split_by_key::boolean as is_split_by_key,
    counted.a_dossiers_named::bigint as a_dossiers_named,
    indices.denominator::bigint as a_dossiers,
    round({{ quotient('counted.a_dossiers_named', 'indices.denominator') }}, 15)::numeric(20, 15) as share_named
from counted
left join indices on counted.period_code = indices.period_code and counted.unit_code = indices.unit_code
