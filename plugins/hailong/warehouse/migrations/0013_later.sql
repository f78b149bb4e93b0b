-- What came after the state that a candidate is a copy of: counted, told, and not in it.
set local role hailong_owner;

alter table publish.candidate
add column later_batches integer not null default 0,
add column later_records bigint not null default 0;
comment on column publish.candidate.later_batches is 'Batches with new or changed records that were loaded after this copy''s last one, when it was made.';
comment on column publish.candidate.later_records is 'Their records.';
reset role;
