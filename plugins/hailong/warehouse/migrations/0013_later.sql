-- What came after the state that a candidate is a copy of: counted, told, and not in it. And what the gate must know of that state.
set local role hailong_owner;

alter table publish.candidate
add column later_batches integer not null default 0,
add column later_records bigint not null default 0,
add column scope_units text[],
add column dossiers bigint,
add column unknown_unit_dossiers bigint;
comment on column publish.candidate.later_batches is 'Batches with new or changed records that were loaded after this copy''s last one, when it was made.';
comment on column publish.candidate.later_records is 'Their records, of whatever period.';
comment on column publish.candidate.scope_units is 'Units that the register of that state wants in the period; null: older than this column.';
comment on column publish.candidate.dossiers is 'Dossiers with a result in the period.';
comment on column publish.candidate.unknown_unit_dossiers is 'Those of them that no known unit resolves.';

reset role;
