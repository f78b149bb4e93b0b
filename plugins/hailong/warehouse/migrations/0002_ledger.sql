-- The ledger: what each batch declared, received and became; what was quarantined; what each build read.
create table ops.batch (
    batch_id bigint generated always as identity primary key,
    feed text not null,
    window_start timestamptz,
    window_end timestamptz,
    landing_uri text not null,
    landing_sha256 text not null unique check (landing_sha256 ~ '^[0-9a-f]{64}$'),
    declared_rows bigint,
    received_rows bigint not null check (received_rows >= 0),
    loaded_rows bigint not null check (loaded_rows >= 0),
    unchanged_rows bigint not null check (unchanged_rows >= 0),
    duplicate_rows bigint not null check (duplicate_rows >= 0),
    quarantined_rows bigint not null check (quarantined_rows >= 0),
    tombstone_rows bigint not null default 0 check (tombstone_rows >= 0),
    started_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    contract_version text not null,
    code_version text not null,
    constraint batch_adds_up check (received_rows = loaded_rows + unchanged_rows + duplicate_rows + quarantined_rows),
    constraint batch_is_complete check (declared_rows is null or declared_rows = received_rows),
    constraint batch_window check (window_start is null or window_end is null or window_start < window_end)
);
comment on table ops.batch is 'One row per loaded landing folder. batch_id order is commit order: loads hold one advisory lock.';
create index batch_feed on ops.batch (feed, batch_id);

create table ops.quarantine (
    quarantine_id bigint generated always as identity primary key,
    batch_id bigint not null references ops.batch (batch_id),
    feed text not null,
    record_key text,
    rule text not null,
    detail text not null,
    payload_minimised text
);
comment on table ops.quarantine is 'Records that could not be read or keyed, with the rule they broke; contract fields without personal data only.';
create index quarantine_batch on ops.quarantine (batch_id);

create table ops.build (
    build_id bigint generated always as identity primary key,
    as_of_batch bigint not null,
    rules_sha256 text not null,
    full_refresh boolean not null,
    schema_prefix text not null default '',
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    status text not null default 'running' check (status in ('running', 'succeeded', 'failed')),
    message text
);
comment on table ops.build is 'One row per build of the warehouse: it reads raw rows with batch_id <= as_of_batch under the rule set named.';
comment on column ops.build.schema_prefix is 'Empty for the real schemas; asof_<batch>_ for a past state built beside them.';

create table ops.dbt_result (
    build_id bigint not null references ops.build (build_id),
    node_id text not null,
    status text not null,
    seconds numeric(12, 3) not null,
    rows_affected bigint,
    message text,
    primary key (build_id, node_id)
);

grant select on all tables in schema ops to hailong_loader, hailong_transformer, hailong_gate, hailong_publisher, hailong_reader;
grant insert on ops.batch, ops.quarantine to hailong_loader;
grant references on ops.batch to hailong_loader;
grant insert, update on ops.build to hailong_transformer;
grant insert on ops.dbt_result to hailong_transformer;

create function ops.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only: % refused', tg_table_schema, tg_table_name, tg_op
        using hint = 'What was recorded stays. Record a correction as a new row.';
end
$$;
-- Everyone may run it (it only refuses): tables of other owners hang their triggers on it.
grant execute on function ops.refuse_change() to public;

create trigger batch_append_only before update or delete on ops.batch for each row execute function ops.refuse_change();
create trigger batch_no_truncate before truncate on ops.batch for each statement execute function ops.refuse_change();
create trigger quarantine_append_only before update or delete on ops.quarantine for each row execute function ops.refuse_change();
create trigger quarantine_no_truncate before truncate on ops.quarantine for each statement execute function ops.refuse_change();
alter table ops.batch enable always trigger batch_append_only;
alter table ops.batch enable always trigger batch_no_truncate;
alter table ops.quarantine enable always trigger quarantine_append_only;
alter table ops.quarantine enable always trigger quarantine_no_truncate;
