"""Routes of outgoing webhooks: `/promoters/me/webhooks`. The rules are in domain/hooks.py and domain/outgoing.py.

Webhooks that come in are in webhooks.py.
"""

from flask import Response

from domain import hooks
from domain.hooks import EndpointWish
from domain.rules.states import UserRole
from web.addresses import API
from web.auth import current_actor, require
from web.openapi import describes, open_blueprint
from web.paging import Page, PageArguments, cut
from web.rate_limits import limited
from web.responses import answer, nothing
from web.schemas.hooks import (
    AddEndpointRequest,
    ChangeEndpointRequest,
    DeliveryBody,
    DeliveryPath,
    EndpointBody,
    EndpointPath,
    EndpointsBody,
    NewSecretBody,
)
from web.schemas.teams import WhosePromoter
from web.services import services

blueprint = open_blueprint("hooks", "Promoters' own systems, told of what happens (standardwebhooks.com).")


@blueprint.post("/promoters/me/webhooks", summary="Add an endpoint", responses={201: NewSecretBody})
@describes(
    problems=("not-found", "forbidden", "too-many-webhooks"), headers={201: {"Location": "Where the endpoint is."}}
)
@require(*UserRole, fresh=True)
def add_endpoint(query: WhosePromoter, body: AddEndpointRequest) -> Response:
    """Let an address hear what happens in your events. The answer shows its secret, once.

    Each message is a POST of `{"type", "timestamp", "data"}` with the headers `webhook-id`, `webhook-timestamp` and
    `webhook-signature`. `data` has ids and states; ask the API for the rest. Answer 2xx within 15 seconds; anything
    else is tried again, ten times in 75 hours. 410 disables the endpoint, and so do five days without success.
    A message may come twice, or before an earlier one: go by its `webhook-id`, and by what the API says.
    """
    parts = services()
    with parts.sessions.begin() as session:
        endpoint, secret = hooks.add_endpoint(
            session,
            current_actor(),
            query.promoter_id,
            body.url,
            body.types,
            parts.hook_secrets,
            to_loopback=parts.settings.webhooks_to_loopback,
        )
        session.flush()
        shown = NewSecretBody.with_secret(endpoint, secret)
    return answer(shown, 201, {"Location": f"{API}/promoters/me/webhooks/{shown.id}"})


@blueprint.get("/promoters/me/webhooks", summary="List my endpoints", responses={200: EndpointsBody})
@describes(problems=("not-found", "forbidden"))
def list_endpoints(query: WhosePromoter) -> Response:
    """Return your endpoints; their secrets are not shown again."""
    with services().sessions() as session:
        found = hooks.list_endpoints(session, current_actor(), query.promoter_id)
        return answer(EndpointsBody(items=[EndpointBody.model_validate(endpoint) for endpoint in found]))


@blueprint.get("/promoters/me/webhooks/<uuid:webhook_id>", summary="Read an endpoint", responses={200: EndpointBody})
@describes(problems=("forbidden",))
def read_endpoint(path: EndpointPath) -> Response:
    """Return an endpoint, and whether it is in trouble."""
    with services().sessions() as session:
        return answer(EndpointBody.model_validate(hooks.find_endpoint(session, current_actor(), path.webhook_id)))


@blueprint.patch(
    "/promoters/me/webhooks/<uuid:webhook_id>", summary="Change an endpoint", responses={200: EndpointBody}
)
@require(*UserRole, fresh=True)
def change_endpoint(path: EndpointPath, body: ChangeEndpointRequest) -> Response:
    """Change what is sent. While an endpoint is disabled nothing is kept for it."""
    parts = services()
    with parts.sessions.begin() as session:
        endpoint = hooks.change_endpoint(
            session,
            current_actor(),
            path.webhook_id,
            EndpointWish(**body.model_dump()),
            parts.clock.now(),
            to_loopback=parts.settings.webhooks_to_loopback,
        )
        return answer(EndpointBody.model_validate(endpoint))


@blueprint.delete("/promoters/me/webhooks/<uuid:webhook_id>", summary="Delete an endpoint", responses={204: None})
@require(*UserRole, fresh=True)
def delete_endpoint(path: EndpointPath) -> Response:
    """Tell it nothing more, what waits for it included."""
    with services().sessions.begin() as session:
        hooks.delete_endpoint(session, current_actor(), path.webhook_id, services().clock.now())
    return nothing()


@blueprint.post(
    "/promoters/me/webhooks/<uuid:webhook_id>/rotate-secret", summary="Rotate a secret", responses={200: NewSecretBody}
)
@require(*UserRole, fresh=True)
def rotate_secret(path: EndpointPath) -> Response:
    """Get a new secret, shown once. For 24 hours each message carries two signatures, of the old one, too."""
    parts = services()
    with parts.sessions.begin() as session:
        endpoint, secret = hooks.rotate_secret(
            session, current_actor(), path.webhook_id, parts.hook_secrets, parts.clock.now()
        )
        session.flush()
        return answer(NewSecretBody.with_secret(endpoint, secret))


@blueprint.post(
    "/promoters/me/webhooks/<uuid:webhook_id>/test", summary="Send a test message", responses={202: DeliveryBody}
)
@describes(problems=("webhook-disabled",))
@limited("webhook-tests")
@require(*UserRole, fresh=True)
def test_endpoint(path: EndpointPath) -> Response:
    """Send a `webhook.test`; its delivery shows what became of it."""
    with services().sessions.begin() as session:
        delivery = hooks.ping_endpoint(session, current_actor(), path.webhook_id)
        session.flush()
        return answer(DeliveryBody.model_validate(delivery), 202)


@blueprint.get(
    "/promoters/me/webhooks/<uuid:webhook_id>/deliveries",
    summary="List deliveries",
    responses={200: Page[DeliveryBody]},
)
@describes(problems=("forbidden",))
def list_deliveries(path: EndpointPath, query: PageArguments) -> Response:
    """Return what an endpoint was told in the last 30 days, newest first, and what became of it."""
    before = query.after_id()
    with services().sessions() as session:
        found = hooks.list_deliveries(session, current_actor(), path.webhook_id, before=before, limit=query.limit)
        rows, next_cursor = cut(found, query.limit, lambda delivery: (delivery.id,))
        items = [DeliveryBody.model_validate(delivery) for delivery in rows]
    return answer(Page[DeliveryBody](items=items, next_cursor=next_cursor))


@blueprint.post(
    "/promoters/me/webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/replay",
    summary="Deliver again",
    responses={202: DeliveryBody},
)
@describes(problems=("webhook-disabled",))
@limited("webhook-tests")
@require(*UserRole, fresh=True)
def replay(path: DeliveryPath) -> Response:
    """Deliver a message again, under the same `webhook-id`, whatever became of it."""
    parts = services()
    with parts.sessions.begin() as session:
        delivery = hooks.replay(session, current_actor(), path.webhook_id, path.delivery_id, parts.clock.now())
        session.flush()
        return answer(DeliveryBody.model_validate(delivery), 202)
