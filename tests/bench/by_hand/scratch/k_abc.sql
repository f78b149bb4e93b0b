-- A, B and C added up once for all the combinations that they are part of.
select
    a.window_no,
    dense_rank() over (order by a.group_no, a.set_no, b.set_no, c.set_no)::integer as abc_no,
    a.value + b.value + c.value as present
from by_hand_scratch.k_set as a
inner join by_hand_scratch.k_set as b
    on a.window_no = b.window_no and b.index_code = 'B' and a.result_statuses = b.result_statuses
inner join by_hand_scratch.k_set as c
    on a.window_no = c.window_no and c.index_code = 'C' and a.result_statuses = c.result_statuses
where a.index_code = 'A'
