"""The independent scorer: Decision 104/2024 computed a second time, from plain records, in plain Python.

Nothing here imports the package, the sandbox or the dbt project (tests/unit/test_oracle_is_independent.py looks).
"""
