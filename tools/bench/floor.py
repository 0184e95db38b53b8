"""The floor: what this PostgreSQL does when buyers fight for a tier's row, as most ticket shops let them.

`pgbench`, which comes with PostgreSQL, runs on the real tables with all their indexes and triggers. Beside it stands
how fast one connection is that decides many orders in each commit.
"""

import re
import subprocess
import tempfile
from random import Random

from sqlalchemy import make_url

from tools.bench.database import Database
from tools.bench.ground import Ground
from tools.bench.market import BUYERS, PLENTY, PRICE, PROMOTER, Sale
from tools.bench.results import Measure, Round
from tools.stack.ports import HOST
from tools.stack.postgres import DATABASE, RUNTIME, binaries, environment

CLIENTS = (1, 8, 32)
BATCHES = (100, 500)
SECONDS, LEAST_SECONDS = 3, 1
SLOWER = ", flushes 2 ms slower"

_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
_BUYER = f"('00000001-0000-7000-8000-' || lpad(to_hex({PROMOTER + 1} + {{number}} % {BUYERS}), 12, '0'))::uuid"
_SALE = "(id, user_id, event_id, currency, subtotal, fees, tax, total, stage, status, payment_status, confirmed_at)"
_ITEM = "(id, order_id, user_id, tier_id, sequence, quantity, unit_price, subtotal, fees, tax, inventory_state)"
_TICKET = (
    "(id, order_id, order_item_id, position, tier_id, event_id, holder_id, code, code_version, qr_payload, qr_image,"
    " status, attendee_name, attendee_email)"
)
_SOLD = f"'EUR', {PRICE}, 0, 0, {PRICE}, 'complete', 'confirmed', 'completed', now()"
_LINE = f"1, {PRICE}, {PRICE}, 0, 0, 'sold'"
_DRAWN = "gen_random_uuid()::text, 1, 'drawn', 'drawn', 'valid', 'Bo Buyer', 'bo@example.com'"

_ONE_BY_ONE = f"""
\\set buyer random(0, {BUYERS - 1})
BEGIN;
UPDATE ticket_tiers SET sold = sold + 1 WHERE id = '{{tier}}' AND sold + reserved < quantity;
INSERT INTO orders {_SALE} VALUES (uuidv7(), {_BUYER.format(number=":buyer")}, '{{event}}', {_SOLD})
    RETURNING id AS order_id, sequence, user_id AS buyer_id \\gset
INSERT INTO order_items {_ITEM} VALUES (uuidv7(), :order_id, :buyer_id, '{{tier}}', :sequence, {_LINE})
    RETURNING id AS item_id \\gset
INSERT INTO tickets {_TICKET} VALUES (uuidv7(), :order_id, :item_id, 1, '{{tier}}', '{{event}}', :buyer_id, {_DRAWN});
COMMIT;
"""  # noqa: S608 ids and numbers of ours
_MANY_AT_ONCE = f"""
BEGIN;
UPDATE ticket_tiers SET sold = sold + {{batch}} WHERE id = '{{tier}}' AND sold + reserved + {{batch}} <= quantity;
WITH placed AS (
    INSERT INTO orders {_SALE}
    SELECT uuidv7(), {_BUYER.format(number="n")}, '{{event}}', {_SOLD} FROM generate_series(1, {{batch}}) AS n
    RETURNING id, sequence, user_id
), lined AS (
    INSERT INTO order_items {_ITEM} SELECT uuidv7(), id, user_id, '{{tier}}', sequence, {_LINE} FROM placed
    RETURNING id, order_id
)
INSERT INTO tickets {_TICKET}
SELECT uuidv7(), placed.id, lined.id, 1, '{{tier}}', '{{event}}', placed.user_id, {_DRAWN}
FROM placed JOIN lined ON lined.order_id = placed.id;
COMMIT;
"""  # noqa: S608


class FloorError(Exception):
    """pgbench did not run; the message is its own."""


def floor(ground: Ground, random: Random) -> Round:
    """Measure the floor as the disk is, and with flushes that take 2 ms longer."""
    measures = _measure(ground, random, "")
    with ground.database.slower_flushes():
        measures |= _measure(ground, random, SLOWER)
    return Round(measures)


def _measure(ground: Ground, random: Random, disk: str) -> dict[str, Measure]:
    sale = ground.market.open(quantity=PLENTY)
    # A draft is no allocator's business, nor the sweep's.
    ground.database.change("UPDATE events SET status = 'draft', published_at = NULL WHERE id = :id", id=sale.event_id)
    ground.database.calm()
    seconds = max(round(SECONDS * min(ground.options.scale, 1)), LEAST_SECONDS)
    found = {f"one commit alone{disk}": Measure(ground.database.commit_milliseconds(), "ms", "less")}
    for clients in CLIENTS:
        rate = _pgbench(ground.database, _fill_in(_ONE_BY_ONE, sale), clients, seconds, random)
        found[f"row locks, {_clients(clients)}{disk}"] = Measure(rate, "orders/s", "more")
    for batch in BATCHES:
        rate = _pgbench(ground.database, _fill_in(_MANY_AT_ONCE, sale, batch), 1, seconds, random)
        found[f"{batch} orders per commit, 1 client{disk}"] = Measure(rate * batch, "orders/s", "more")
    _check(ground.database, sale)
    return found


def _clients(number: int) -> str:
    return f"{number} client{'s' if number > 1 else ''}"


def _fill_in(script: str, sale: Sale, batch: int = 1) -> str:
    return script.format(tier=sale.tier_ids[0], event=sale.event_id, batch=batch)


def _pgbench(database: Database, script: str, clients: int, seconds: int, random: Random) -> float:
    """Return transactions per second; raise `FloorError` if it cannot run."""
    postgres = database.postgres
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        result = subprocess.run(
            [
                str(binaries() / "pgbench"),
                *("--no-vacuum", "--protocol=prepared", f"--file={file.name}"),
                *(f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}"),
                *(f"--random-seed={random.getrandbits(31)}", f"--host={HOST}", f"--port={postgres.port}"),
                *(f"--username={RUNTIME}", DATABASE),
            ],
            env={**environment(), "PGPASSWORD": make_url(postgres.url(RUNTIME)).password or ""},
            check=False,
            capture_output=True,
            text=True,
        )
    found = _RATE.search(result.stdout)
    if result.returncode or found is None:
        raise FloorError(f"pgbench failed:\n{result.stderr.strip()}")
    return float(found[1])


def _check(database: Database, sale: Sale) -> None:
    row = database.rows("SELECT sold, counted_sold FROM tier_counters WHERE event_id = :id", id=sale.event_id)[0]
    if row.sold != row.counted_sold or not row.sold:
        raise FloorError(f"the floor's tier counts {row.sold} sold, its rows are {row.counted_sold}")
