# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A platform without wheels needs a compiler here; the image that runs has none.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/proxy
WORKDIR /src
COPY requirements/run.lock requirements/run.lock
RUN /opt/proxy/bin/pip install --require-hashes -r requirements/run.lock
COPY . .
RUN /opt/proxy/bin/pip install --no-deps .
# Only root may write the plugin cache, so write it now: the proxy would complain at every start.
RUN /opt/proxy/bin/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))" \
    && /opt/proxy/bin/twistd --help | grep -q cachingproxy

FROM python:3.13-slim
LABEL org.opencontainers.image.title="caching_proxy" org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/proxy /opt/proxy
WORKDIR /etc/caching_proxy
COPY invalidation_config.json .
ENV PATH=/opt/proxy/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["python", "-c", "\
import os, ssl, urllib.request as r; \
port = os.environ.get('ADMIN_PORT') or os.environ.get('PORT') or '3000'; \
tls = 's' if os.environ.get('TLS_CERT_FILE') and not os.environ.get('ADMIN_PORT') else ''; \
trust = r.HTTPSHandler(context=ssl._create_unverified_context()); \
r.build_opener(r.ProxyHandler({}), trust).open(f'http{tls}://127.0.0.1:{port}/health', timeout=2).read()"]
ENTRYPOINT ["twistd", "-n", "--pidfile=", "cachingproxy"]
