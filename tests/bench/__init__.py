"""`make bench`: from HTTP to committed raw beside dlt and the bare minimum; from raw to marts beside plain SQL and pandas."""
