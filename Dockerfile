# The service in a container: docs/guides/containers.md tells how it is run.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
# Dependencies first: as long as the locks stay the same this layer does.
COPY poetry.lock requirements.lock ./
COPY scripts/install-service scripts/
RUN python scripts/install-service dependencies /opt/apikeyrouter
COPY packages packages
RUN python scripts/install-service packages /opt/apikeyrouter

FROM python:${PYTHON}-slim
# A number, so that whoever runs it can see that it is not root.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /data apikeyrouter && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/apikeyrouter /opt/apikeyrouter
ENV PATH=/opt/apikeyrouter/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Where a SQLite store is kept, with its encryption key beside it.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8000
# A proxy that the environment names is none for this machine itself, so no client that reads it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# Running requests may finish for SHUTDOWN_TIMEOUT_SECONDS: let `docker stop` wait for longer.
STOPSIGNAL SIGTERM
ENTRYPOINT ["apikeyrouter"]
CMD ["serve", "--host", "0.0.0.0"]
