-- An acknowledgement of a period's finding covers the units that failed then (hailong.review.findings).
set local role hailong_gate;

comment on column dq.finding_event.event is 'opened; seen: failed again; acknowledged; closed; reopened: failed after it was closed, after its acknowledgement ran out, or in a unit that a period''s acknowledgement did not know.';
comment on column dq.finding_event.by is 'The person (closed: also the signer who quoted it, when it was published); null: a run of the gate.';

reset role;
