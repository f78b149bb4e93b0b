"""Importing Airflow writes a configuration file into AIRFLOW_HOME: never into the developer's own."""

import os
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="hailong-airflow-")
