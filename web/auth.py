"""Who is calling: access and refresh tokens, and the marks on views that say who may call them.

Every view is for any logged-in user unless it is marked `@public` or `@require(...)`. An access token works until it
expires (15 minutes), even after a logout; what moves money reads the role again (`fresh=True`).
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import jwt
from cachetools import LRUCache
from flask import Flask, current_app, g, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
)
from flask_jwt_extended.exceptions import JWTExtendedException

from domain.audit import Actor
from domain.errors import ForbiddenError, UnauthenticatedError
from domain.logins import Grant, read_role
from domain.rules.states import UserRole
from settings import Settings
from web.request_ids import request_id
from web.services import services

ALGORITHM = "HS256"
ISSUER = "ticket-vendor"
EXTENSION = "ticket_vendor_bearers"
BEARERS_KEPT = 10_000
"""About 6 MB: who polls or buys again within a rush is known, whoever is not costs one more check."""
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a view: everybody, or whoever is logged in (in one of `roles`, if there are any)."""

    is_public: bool = False
    roles: frozenset[UserRole] = frozenset()
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What a valid access token says."""

    user_id: UUID
    role: UserRole
    family_id: UUID


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a valid refresh token says."""

    user_id: UUID
    token_id: UUID
    family_id: UUID


class Bearers:
    """Whom this process's valid access tokens named: the same bytes need no second check until they expire.

    An access token cannot be called back, so there is nothing else to ask. Digests are kept, not tokens.
    """

    def __init__(self) -> None:
        self._kept: LRUCache[bytes, tuple[Identity, float]] = LRUCache(BEARERS_KEPT)
        self._lock = threading.Lock()

    def identify(self, token: str) -> Identity:
        """Return whom the token names; raise `UnauthenticatedError` unless it is valid."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        with self._lock:
            known = self._kept.get(digest)
        # As PyJWT has it: at the second of its expiry a token is expired.
        if known is not None and time.time() < known[1]:
            return known[0]
        claims = _decode(token, "access")
        identity = Identity(UUID(claims["sub"]), UserRole(claims["role"]), UUID(claims["family"]))
        with self._lock:
            self._kept[digest] = identity, claims["exp"]
        return identity


LOGGED_IN = Access()


def public(view: View) -> View:
    """Mark a view that anybody may call; a token that comes along must still be valid."""
    return _mark(view, Access(is_public=True))


def require(*roles: UserRole, fresh: bool = False) -> Callable[[View], View]:
    """Mark a view for certain roles; `fresh` reads the role from the database instead of the token."""
    return lambda view: _mark(view, Access(roles=frozenset(roles), fresh=fresh))


def access_of(view: Any) -> Access:
    """Return the mark of a view."""
    access: Access = getattr(view, "access", LOGGED_IN)
    return access


def _mark(view: View, access: Access) -> View:
    view.access = access  # type: ignore[attr-defined]
    return view


def install(app: Flask, settings: Settings) -> None:
    """Set the tokens up. `identify` and `enforce` are run by the app, with the rate limits between them."""
    keys = {kid: key.get_secret_value() for kid, key in settings.jwt_keys.items()}
    app.config.update(
        JWT_ALGORITHM=ALGORITHM,
        JWT_DECODE_ALGORITHMS=[ALGORITHM],
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=settings.jwt_access_seconds),
        JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=settings.jwt_refresh_seconds),
    )
    manager = JWTManager(app)
    first = next(iter(keys))

    @manager.encode_key_loader
    def _signing_key(_user_id: str) -> str:
        return keys[first]

    @manager.decode_key_loader
    def _checking_key(headers: dict[str, Any], _claims: dict[str, Any]) -> str:
        key = keys.get(headers.get("kid", ""))
        if key is None:
            raise jwt.InvalidKeyError("unknown kid")
        return key

    app.config["JWT_KID"] = first
    app.extensions[EXTENSION] = Bearers()


def issue_tokens(role: UserRole, grant: Grant) -> tuple[str, str]:
    """Return an access token and the refresh token of a grant."""
    headers = {"kid": current_app.config["JWT_KID"]}
    family = {"family": str(grant.family_id)}
    access = create_access_token(
        str(grant.user_id), additional_claims={**family, "role": role.value}, additional_headers=headers
    )
    refresh = create_refresh_token(
        str(grant.user_id),
        additional_claims={**family, "jti": str(grant.token_id)},
        additional_headers=headers,
        expires_delta=grant.expires_at - grant.issued_at,
    )
    return access, refresh


def read_refresh_token(token: str) -> RefreshClaims:
    """Return what a refresh token says; raise `UnauthenticatedError` unless it is valid and ours."""
    claims = _decode(token, "refresh")
    return RefreshClaims(UUID(claims["sub"]), UUID(claims["jti"]), UUID(claims["family"]))


def identify() -> None:
    """Note who is calling; a bad token is refused only after the rate limits have counted the request."""
    g.identity, g.identity_error = None, None
    header = request.headers.get("Authorization")
    if header is None or request.endpoint is None:
        return
    scheme, _, token = header.partition(" ")
    bearers: Bearers = current_app.extensions[EXTENSION]
    try:
        # Whatever is no bearer token fails like a bearer token that is none.
        g.identity = bearers.identify(token.strip() if scheme.lower() == "bearer" else "")
    except UnauthenticatedError as error:
        g.identity_error = error


def enforce() -> None:
    """Refuse whoever may not call the view of this request."""
    if request.endpoint is None or request.method == "OPTIONS":
        return
    access = access_of(current_app.view_functions[request.endpoint])
    if g.identity_error is not None:
        raise g.identity_error
    if access.is_public:
        return
    if g.identity is None:
        raise UnauthenticatedError("Log in, and send the access token as `Authorization: Bearer …`.")
    if not access.roles:
        return
    if access.fresh or g.identity.role not in access.roles:
        # A token may be older than a promotion, so a role that does not suffice is looked up, too.
        _renew_role(g.identity)
    if g.identity.role not in access.roles:
        raise ForbiddenError("Your role does not allow this.")


def current_identity() -> Identity | None:
    """Return who is calling a public view, if they say."""
    identity: Identity | None = g.identity
    return identity


def current_user_id() -> UUID:
    """Return the id of who is logged in."""
    return _logged_in().user_id


def current_family_id() -> UUID:
    """Return the family of refresh tokens that the caller's log-in began."""
    return _logged_in().family_id


def current_actor() -> Actor:
    """Return who acts, for the audit log; a stranger has neither id nor role."""
    identity = current_identity()
    return Actor(
        user_id=identity.user_id if identity else None,
        role=identity.role if identity else None,
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=request_id(),
    )


def _logged_in() -> Identity:
    identity = current_identity()
    if identity is None:
        raise UnauthenticatedError("Log in, and send the access token as `Authorization: Bearer …`.")
    return identity


def _renew_role(identity: Identity) -> None:
    with services().sessions() as session:
        role = read_role(session, identity.user_id)
    if role is None:
        raise UnauthenticatedError("This account is closed.", code="token-invalid")
    g.identity = Identity(identity.user_id, role, identity.family_id)


def _decode(token: str, kind: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = decode_token(token)
    except jwt.ExpiredSignatureError:
        raise UnauthenticatedError("The token has expired: refresh it or log in.", code="token-expired") from None
    except (jwt.PyJWTError, JWTExtendedException, ValueError, KeyError):
        raise UnauthenticatedError("This token is not valid.", code="token-invalid") from None
    if claims.get("type") != kind:
        raise UnauthenticatedError(f"This is not a token of the kind {kind!r}.", code="token-invalid")
    return claims
