-- Every unit of a group is read alike. Of sets that give all of them the same index, the smallest stands for all. The policy
-- gives no K to who lacks an index: those are left out before anything is combined.
with voting as (
    select * from by_hand_scratch.k_value
    where kind in ('own', 'legal_gap')
),

alike as (
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

standing as (
    select distinct on (group_no, index_code, result_statuses, values_of_all)
        group_no,
        index_code,
        result_statuses,
        set_code
    from alike
    order by group_no, index_code, result_statuses, values_of_all, size, set_code
),

numbered as (
    select
        standing.*,
        row_number() over (partition by group_no, index_code order by result_statuses, set_code)::integer as set_no
    from standing
)

select
    voting.group_no,
    voting.window_no,
    voting.index_code,
    voting.result_statuses,
    numbered.set_no,
    voting.value
from voting
inner join numbered
    on
        voting.group_no = numbered.group_no
        and voting.index_code = numbered.index_code
        and voting.result_statuses = numbered.result_statuses
        and voting.set_code = numbered.set_code
inner join by_hand_scratch.k_window as w on voting.window_no = w.window_no
where w.may_be_ranked and voting.missing = 0
