"""What judges tokens, made from the settings."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent

from caching_proxy.auth.keys import TokenConfig
from caching_proxy.auth.verifier import TokenVerifier, token_verifier
from caching_proxy.settings.model import Settings
from caching_proxy.transport.tls import VerifyingPolicy


def make_verifier(reactor: Any, settings: Settings, wall: IReactorTime) -> TokenVerifier:
    """The verifier that the JWT_* settings ask for."""
    config = TokenConfig(
        secret=settings.jwt_secret or settings.jwt_secret_base64,
        public_key=settings.jwt_public_key,
        jwks_url=settings.jwt_jwks_url,
        algorithms=settings.jwt_algorithms,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway=settings.jwt_leeway_seconds,
        trust="trust" if settings.jwt_trust == "trust" else "isolate",
        roles_claim=settings.jwt_roles_claim,
        max_bytes=settings.jwt_max_bytes,
    )
    agent = Agent(reactor, VerifyingPolicy(settings.jwks_tls), connectTimeout=5.0)
    return token_verifier(config, wall, HTTPClient(agent) if settings.jwt_jwks_url else None)
