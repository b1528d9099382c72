# Two stages on one base image; the build tools stay in the first.
# Any base image with Python 3.11 or newer, venv and glibc works: --build-arg PYTHON_IMAGE=…
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
# The pip of one environment installs into the other, so the final environment has no pip.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/ragledger

# Requirements first, because they change rarely. There is no compiler, so a requirement without a wheel fails at once.
COPY requirements/ requirements/
RUN /opt/build/bin/pip --python /opt/ragledger/bin/python install \
        --only-binary :all: --require-hashes --requirement requirements/runtime.txt
# hatchling and its dependencies are pinned, with hashes, in the development requirements.
RUN awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        requirements/dev.txt > requirements/build.txt \
    && /opt/build/bin/pip install --only-binary :all: --require-hashes --requirement requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY schema/ schema/
COPY consumer/ consumer/
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/ragledger/bin/python install --no-index --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
# Some libraries need a user name; Kubernetes needs the number.
RUN useradd --uid 10001 --user-group --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin ragledger
COPY --from=builder /opt/ragledger /opt/ragledger
ENV PATH=/opt/ragledger/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 9108
STOPSIGNAL SIGTERM
# Without a proxy, even if the environment sets one for outgoing requests.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.getenv('RAGLEDGER_HTTP__PORT', '9108') + '/healthz', timeout=4)"]
ENTRYPOINT ["ragledger"]
CMD ["run"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ragledger" \
      org.opencontainers.image.description="Moves the events of RAG services from Kafka to PostgreSQL, exactly once in effect" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
