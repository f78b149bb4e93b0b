-- D and E likewise.
select
    d.window_no,
    dense_rank() over (order by d.set_no, e.set_no)::integer as de_no,
    d.value + e.value as present
from by_hand_scratch.k_set as d
inner join by_hand_scratch.k_set as e on d.window_no = e.window_no and e.index_code = 'E'
where d.index_code = 'D'
