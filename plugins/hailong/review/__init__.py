"""Review: findings with a life, what a source's owner must fix, and who is told of what is new."""

ROLE = "hailong_gate"
