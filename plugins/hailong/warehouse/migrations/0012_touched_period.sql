-- A period is touched by rows that changed in what its sums are made of; the columns named besides it do not count.
-- Trigger after update, on both transition tables: arguments are the column of the period and those columns.
grant create on schema ops to hailong_transformer;
set local role hailong_transformer;

create function ops.note_changed_periods() returns trigger language plpgsql as $$
begin
    insert into ops.touched_period (period_code)
    select distinct differing.content ->> tg_argv[0]
    from (
        (
            select to_jsonb(was) - tg_argv[1:] as content from was
            except
            select to_jsonb(changed) - tg_argv[1:] from changed
        )
        union all
        (
            select to_jsonb(changed) - tg_argv[1:] from changed
            except
            select to_jsonb(was) - tg_argv[1:] from was
        )
    ) as differing;
    return null;
end
$$;
reset role;
revoke create on schema ops from hailong_transformer;
