"""What we say: candidates, signatures, editions and their files. Append-only; the past is read-only."""

# Advisory lock: one change of what is said at a time.
LOCK = 104_004
ROLE = "hailong_publisher"
