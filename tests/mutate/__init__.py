"""`make mutate`: single faults put into the rule set, each of which a named test must notice."""
