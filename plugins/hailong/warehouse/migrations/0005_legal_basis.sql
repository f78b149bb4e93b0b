-- The legal text that a policy rests on, as the seed had it: a report cites it from what was published.
set local role hailong_owner;
alter table publish.candidate add column legal_basis text;
alter table publish.edition add column legal_basis text;
comment on column publish.candidate.legal_basis is 'Legal text behind the policy, Vietnamese, as the rule set had it.';
reset role;
