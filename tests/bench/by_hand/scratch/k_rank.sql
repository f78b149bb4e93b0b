-- The best and the worst rank of each, over all combinations of what its group is read by; K in hundredths, as it is ranked by.
with ranked as (
    select
        abc.window_no,
        rank() over (
            partition by abc.abc_no * 1000 + de.de_no
            order by (round(round(abc.present + de.present, 30), 6) * -100)::numeric(12, 0)::integer
        ) as rank_in_group
    from by_hand_scratch.k_abc as abc
    inner join by_hand_scratch.k_de as de on abc.window_no = de.window_no
)

select
    window_no,
    min(rank_in_group) as rank_min,
    max(rank_in_group) as rank_max
from ranked
group by window_no
