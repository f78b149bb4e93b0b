"""What cannot be made again, kept elsewhere and brought back (ADR 20).

A place holds `objects/<sha256>`, each content once, and `backups/<id>.json`, a manifest each, written last: what has no
manifest is no backup.
"""

VARIABLE = "HAILONG_BACKUP_URI"
LOCK = 104_007  # advisory lock: one backup, or restore, of a warehouse at a time

# What is kept of HAILONG_HOME; and what is not: secrets, what is made again, and files that hold what the door keeps out.
KEPT = ("landing", "candidates", "editions", "data_docs", "rules")
LEFT = ("pg", "airflow", "dbt", "drop", "incoming", "pseudonym.key", "rate", "sandbox", "backup")
SCHEMAS = ("ops", "raw", "dq", "publish")
# What a build notes for itself: a restored warehouse is built in full, and builds empty these tables while a backup runs.
NOTES = ("ops.touched_record", "ops.touched_cell", "ops.touched_period", "ops.restated_record")
