"""How a refund divides what was charged, in integer minor units, and until when buyers may ask for one."""

from datetime import datetime, timedelta


def returned_fee(fee: int, total: int, *, before: int, after: int) -> int:
    """Return the part of the platform's fee that goes back when the refunded amount grows from `before` to `after`.

    It is in proportion. Rounded half up over the sum, not over each part, so that the parts of a whole refund always
    add up to the whole fee.
    """
    return _share(fee, after, total) - _share(fee, before, total)


def ticket_share(total: int, quantity: int, position: int, *, step: int = 1) -> int:
    """Return what the ticket at this position, from 1 to `quantity`, is worth of an item that cost `total`.

    Rounded half up, to the currency's step, over the sum of all up to it, so that the shares of all tickets always add
    up to the item, which is a multiple of the step.
    """
    steps = total // step
    return step * (_share(steps, position, quantity) - _share(steps, position - 1, quantity))


def buyers_deadline(starts_at: datetime, hours: int | None, granted_until: datetime | None = None) -> datetime | None:
    """Return until when buyers may ask for a refund, null if they may not.

    That is `hours` before the start, or later where the promoter granted it after changing the event.
    """
    usual = None if hours is None else starts_at - timedelta(hours=hours)
    return max((deadline for deadline in (usual, granted_until) if deadline is not None), default=None)


def _share(amount: int, part: int, whole: int) -> int:
    return (2 * amount * part + whole) // (2 * whole)
