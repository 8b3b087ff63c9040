"""Tells ``twistd`` that there is a ``cachingproxy``."""

from twisted.application.service import ServiceMaker

cachingproxy = ServiceMaker(
    "cachingproxy", "caching_proxy.app.tap", "A caching reverse proxy in front of one backend.", "cachingproxy"
)
