# One image for every service of docker-compose.yml: the locked packages, the package itself and what it reads.
# The base is any Debian userland with Python 3.11 as `python` (venv included); nothing is installed into it.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS packages
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/
RUN /opt/venv/bin/pip install --disable-pip-version-check --no-cache-dir --quiet --no-deps --require-hashes \
    --requirement /tmp/requirements.lock
COPY pyproject.toml /opt/hailong/
COPY plugins/hailong/__init__.py plugins/hailong/installed.py /opt/hailong/plugins/hailong/
WORKDIR /opt/hailong
# Editable, as everywhere: the package finds dbt project, contracts and DAGs beside itself, so two of its files are enough
# here, and a change of the others does not make this layer again. What only developers need goes.
RUN /opt/venv/bin/pip install --disable-pip-version-check --no-cache-dir --quiet --no-deps --no-build-isolation --editable . \
    && /opt/venv/bin/python -m hailong.installed --unneeded > /tmp/unneeded \
    && xargs /opt/venv/bin/pip uninstall --quiet --yes < /tmp/unneeded \
    && /opt/venv/bin/pip check

FROM ${BASE_IMAGE}
ENV PATH=/opt/hailong/bin:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    AIRFLOW_HOME=/var/lib/airflow \
    HAILONG_HOME=/var/lib/hailong
# A fixed number, so that files handed in from the host can be given to it.
RUN groupadd --gid 10001 hailong \
    && useradd --uid 10001 --gid 10001 --home-dir /home/hailong --create-home --shell /usr/sbin/nologin hailong \
    && install --directory --owner hailong --group hailong --mode 0750 \
        /var/lib/hailong /var/lib/hailong-drop /var/lib/airflow /var/lib/airflow/logs
COPY --from=packages /opt/venv /opt/venv
COPY pyproject.toml /opt/hailong/
COPY dags /opt/hailong/dags
COPY dbt_project /opt/hailong/dbt_project
COPY expectations /opt/hailong/expectations
COPY plugins /opt/hailong/plugins
COPY sandbox /opt/hailong/sandbox
WORKDIR /opt/hailong
# Code belongs to root and is compiled here: the services cannot change it, nor keep compiled files of it.
ARG COMMIT=unknown
ARG BUILD_DATE=unknown
# The two commands that people run by `docker compose exec`, which knows nothing of an entry point, see what it makes.
RUN mkdir bin \
    && for name in airflow hailong; do \
        printf '#!/bin/sh\nexec python -m hailong.server /opt/venv/bin/%s "$@"\n' "$name" > "bin/$name"; \
    done \
    && chmod 0755 bin/* \
    && python -m compileall -q dags expectations plugins sandbox \
    && python -c "import hailong; print(f'{hailong.__version__}+${COMMIT}\n${BUILD_DATE}')" > VERSION
LABEL org.opencontainers.image.title="Hài lòng" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.created="${BUILD_DATE}"
USER 10001:10001
ENTRYPOINT ["python", "-m", "hailong.server"]
CMD ["airflow", "version"]
