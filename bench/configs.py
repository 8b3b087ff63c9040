"""Configuration of the servers that stand beside the proxy: the backend, nginx and Varnish as caches."""

from __future__ import annotations

import json
import os
import resource

ITEM = json.dumps({"id": 1, "name": "item", "text": "x" * 988}, separators=(",", ":"))
"""The body behind every ``/items/…``: 1 KiB of JSON."""

MAX_AGE = 3600

TAG = '"1-of-1"'
"""The entity tag of every ``/items/…``."""

_NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
worker_processes 1;
worker_rlimit_nofile {files};
{user}
events {{ worker_connections 20000; }}
http {{
    client_body_temp_path {directory}/client;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    access_log off;
    sendfile on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
{http}
}}
"""

_BACKEND = """\
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location /items/ {{
            add_header Cache-Control "max-age={max_age}";
            add_header ETag '{tag}';
            return 200 '{item}';
        }}
        location /files/ {{
            root {directory};
            add_header Cache-Control "max-age={max_age}";
        }}
        location /uncached/ {{
            alias {directory}/files/;
            add_header Cache-Control "no-store";
        }}
        location = /status {{ stub_status; }}
    }}
"""

_CACHE = """\
    proxy_cache_path {directory}/cache levels=1:2 keys_zone=bench:128m max_size=2g inactive=60m use_temp_path=off;
    open_file_cache max={kept_open} inactive=60s;
    upstream backend {{
        server 127.0.0.1:{backend};
        keepalive 100;
        keepalive_requests 1000000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_max_temp_file_size 0;
    proxy_cache bench;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://backend; }}
    }}
    server {{
        listen 127.0.0.1:{logging} backlog=4096;
        access_log {directory}/access.log combined;
        location / {{ proxy_pass http://backend; }}
    }}
"""

_VCL = """\
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{backend}"; }}
sub vcl_recv {{ if (req.url ~ "^/uncached/") {{ return (pass); }} }}
"""


def backend(directory: str, port: int) -> str:
    """nginx as the backend; static files come from ``files/`` under ``directory``."""
    return _nginx(directory, _BACKEND.format(port=port, directory=directory, item=ITEM, max_age=MAX_AGE, tag=TAG))


def nginx_cache(directory: str, port: int, logging: int, backend_port: int) -> str:
    """nginx as the cache; ``logging`` is the port that writes access lines."""
    ports = {"port": port, "logging": logging, "backend": backend_port}
    return _nginx(directory, _CACHE.format(directory=directory, kept_open=min(20_000, _files() // 2), **ports))


def vcl(backend_port: int) -> str:
    """Varnish's built-in rules, and ``/uncached/`` passed through."""
    return _VCL.format(backend=backend_port)


def _nginx(directory: str, http: str) -> str:
    user = "user root;" if os.geteuid() == 0 else ""  # else workers could not enter our directory
    return _NGINX.format(directory=directory, user=user, files=_files(), http=http)


def _files() -> int:
    """How many files nginx may have open: with as many in its cache as that, it could take no connection."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 40_000 if most == resource.RLIM_INFINITY else min(40_000, most)
