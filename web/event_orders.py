"""An event's orders for its promoter and their team: a list, and files. The rules are in domain/event_orders.py."""

from flask import Response

from domain import event_orders
from domain.rules.states import UserRole
from web.auth import current_actor, require
from web.exports import answer_csv, answer_xlsx, as_csv, as_xlsx
from web.openapi import describes, open_blueprint
from web.paging import Page, cut
from web.responses import answer
from web.schemas.event_orders import EventOrderArguments, EventOrderBody, OrderFilterArguments
from web.schemas.events import EventPath
from web.services import services

blueprint = open_blueprint("event orders", "An event's orders, for those who sell it.")


@blueprint.get(
    "/events/<uuid:event_id>/orders", summary="List an event's orders", responses={200: Page[EventOrderBody]}
)
@describes(problems=("forbidden",))
def list_event_orders(path: EventPath, query: EventOrderArguments) -> Response:
    """Return the orders of an event that you sell, newest first, by filters and a search."""
    before = query.after_id()
    with services().sessions() as session:
        found = event_orders.list_orders(
            session, current_actor(), path.event_id, query.wanted(), before=before, limit=query.limit
        )
    rows, next_cursor = cut(found, query.limit, lambda row: (row.id,))
    items = [EventOrderBody.model_validate(row) for row in rows]
    return answer(Page[EventOrderBody](items=items, next_cursor=next_cursor))


@blueprint.get("/events/<uuid:event_id>/orders.csv", summary="Export an event's orders as CSV", responses={200: None})
@as_csv
@require(*UserRole, fresh=True)
def export_orders_as_csv(path: EventPath, query: OrderFilterArguments) -> Response:
    """Return all orders that the list would show, as they are read. It is put on record."""
    actor, wanted = current_actor(), query.wanted()
    return answer_csv(lambda session: event_orders.begin_export(session, actor, path.event_id, wanted, "csv"))


@blueprint.get("/events/<uuid:event_id>/orders.xlsx", summary="Export an event's orders as XLSX", responses={200: None})
@as_xlsx
@require(*UserRole, fresh=True)
def export_orders_as_xlsx(path: EventPath, query: OrderFilterArguments) -> Response:
    """Return all orders that the list would show, 100,000 at most. It is put on record."""
    actor, wanted = current_actor(), query.wanted()
    return answer_xlsx(lambda session: event_orders.begin_export(session, actor, path.event_id, wanted, "xlsx"))
