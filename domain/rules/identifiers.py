"""What a UUIDv7 says of itself (RFC 9562, section 5.7): the millisecond in which it was made."""

from datetime import datetime, timedelta
from uuid import UUID

UNSHIFTED = timedelta(0)


def first_id_of(moment: datetime, shift: timedelta = UNSHIFTED) -> UUID:
    """Return the smallest id of a moment, shifted: ids made before it are smaller, all others are not."""
    milliseconds = int((moment.timestamp() + shift.total_seconds()) * 1000)
    return UUID(int=max(0, milliseconds) << 80 | 7 << 76 | 2 << 62)
