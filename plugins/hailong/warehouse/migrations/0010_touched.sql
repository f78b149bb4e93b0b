-- What an incremental build looks at again: records that were told of since the last finished build, and the cells (unit, day)
-- and periods in which a row changed since then. Emptied when a build has finished; a killed one leaves them to the next.
alter table ops.build add column since_batch bigint;
comment on column ops.build.since_batch is 'Only records of later batches were looked at again; null: everything was.';
alter table ops.build add column timezone text;
comment on column ops.build.timezone is 'Zone of the local days.';

-- They belong to the builder, who alone may look at their statistics anew.
grant create on schema ops to hailong_transformer;
set local role hailong_transformer;

create table ops.touched_record (
    feed text not null,
    record_key text not null,
    primary key (feed, record_key)
);
comment on table ops.touched_record is 'Records with a version, or a version in quarantine, of a batch since the last finished build.';

-- No key: several models note at once, and the same cell twice does no harm.
create table ops.touched_cell (
    kind text not null,
    unit_code text not null,
    day date not null
);
comment on table ops.touched_cell is 'Units and days in which a row changed since the last finished build; no unit is empty, no day is -infinity.';

create table ops.touched_period (
    period_code text not null
);
comment on table ops.touched_period is 'Periods in which a row changed since the last finished build.';

-- Arguments: kind, column of the unit, column of the day, and so on by threes. The changed rows are called `changed`.
create function ops.note_cells() returns trigger language plpgsql as $$
begin
    for place in 0 .. tg_nargs / 3 - 1 loop
        execute format(
            'insert into ops.touched_cell (kind, unit_code, day) '
            'select distinct %L, coalesce(%I, ''''), coalesce(%I, ''-infinity'') from changed',
            tg_argv[3 * place], tg_argv[3 * place + 1], tg_argv[3 * place + 2]
        );
    end loop;
    return null;
end
$$;

-- Argument: column of the period.
create function ops.note_periods() returns trigger language plpgsql as $$
begin
    execute format('insert into ops.touched_period (period_code) select distinct %I from changed', tg_argv[0]);
    return null;
end
$$;

grant select on ops.touched_record, ops.touched_cell, ops.touched_period to hailong_gate, hailong_reader;
reset role;
revoke create on schema ops from hailong_transformer;
