# The image of whatsapp-monitor: docs/deploy/docker.md says how to build it and how to run it locked down.
#
# Both stages stand on one base: any image with `python3` (3.11 or newer) and its venv module on PATH. The default is the
# interpreter and the Debian release that the tests run on; slim has a C library that the locked wheels are built for.
# For a release give it by digest: --build-arg BASE=docker.io/library/python@sha256:…
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS builder
# pip stays in an environment of its own, so that the one which is shipped has no installer. A pip.conf (a mirror, its
# credentials) and a CA bundle may come as build secrets: they reach this step only and no layer.
COPY requirements/runtime.txt /build/requirements.txt
RUN --mount=type=secret,id=pip_config --mount=type=secret,id=pip_certificates \
    python3 -m venv /build/pip \
    && python3 -m venv --without-pip /opt/venv \
    && PIP_CONFIG_FILE=/run/secrets/pip_config /build/pip/bin/pip --python /opt/venv/bin/python3 install \
        --disable-pip-version-check --no-cache-dir --require-hashes --only-binary :all: --requirement /build/requirements.txt
COPY monitor /build/monitor
COPY rules/monitor /build/config/rules/monitor
COPY deploy/monitor.yml /build/config/monitor.yml
# Bytecode is compiled here, since at run time nothing may be written. The build machine's umask must not matter.
RUN packages="$(/opt/venv/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && cp -R /build/monitor "$packages/monitor" \
    && /opt/venv/bin/python3 -m compileall -q "$packages/monitor" \
    && printf '#!/opt/venv/bin/python3\nimport sys\n\nfrom monitor.__main__ import main\n\nsys.exit(main())\n' \
        > /opt/venv/bin/whatsapp-monitor \
    && chmod 0755 /opt/venv/bin/whatsapp-monitor \
    && mkdir /build/data \
    && chmod -R a+rX,go-w /opt/venv /build/config

FROM ${BASE}
LABEL org.opencontainers.image.title="whatsapp-monitor" \
      org.opencontainers.image.description="A monitoring and alerting sidecar for Meta's WhatsApp Business Platform" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /build/config /etc/whatsapp-monitor
COPY --from=builder --chown=65532:65532 /build/data /data
# TMPDIR: on a read-only root the data volume is the only place where SQLite can put a large sort.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    WHATSAPP_MONITOR_CONFIG_FILE=/etc/whatsapp-monitor/monitor.yml
VOLUME /data
WORKDIR /data
# A number, so that Kubernetes' runAsNonRoot can tell; it needs no entry in /etc/passwd.
USER 65532:65532
# 8368 public: Meta's webhooks. 9368 internal: metrics, gate, status page; bound to loopback unless told otherwise.
EXPOSE 8368 9368
# http.client and not urllib, which would ask a proxy for 127.0.0.1. The path is open even where a token is configured.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/opt/venv/bin/python3", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 9368, timeout=4); c.request('GET', '/-/healthy'); sys.exit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/venv/bin/python3", "-m", "monitor"]
CMD ["serve"]
