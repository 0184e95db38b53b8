"""Tasks of the `tickets` queue: drawing the QR codes."""

from uuid import UUID

from domain import tickets
from domain.messages import RenderTickets
from workers.app import app, qr_renderer, sessions, signer


@app.task(name=RenderTickets.task)
def render_tickets(order_id: str) -> None:
    """Draw what is missing of an order's tickets."""
    tickets.render(sessions(), signer(), qr_renderer(), UUID(order_id))
