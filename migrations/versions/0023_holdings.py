"""An item says whose it is, so that what a person holds of a tier is read by one index.

Each row of order_items is written anew, and code older than this cannot insert any: migrate between two sales.

Revision ID: 0023
Revises: 0022
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# The foreign key needs a unique index; its columns are part of the key already, so that no more changes lock it.
ORDERS = """
ALTER TABLE orders ADD CONSTRAINT uq_orders_user_id_id UNIQUE (user_id, id);
DROP INDEX ix_orders_user_id_id;
"""

ORDER_ITEMS = """
ALTER TABLE order_items ADD COLUMN user_id uuid;
UPDATE order_items AS item SET user_id = orders.user_id FROM orders WHERE orders.id = item.order_id;
ALTER TABLE order_items
    ALTER COLUMN user_id SET NOT NULL,
    DROP CONSTRAINT fk_order_items_order_id,
    ADD CONSTRAINT fk_order_items_user_id_order_id FOREIGN KEY (user_id, order_id) REFERENCES orders (user_id, id);
CREATE INDEX ix_order_items_held ON order_items (tier_id, user_id) WHERE inventory_state IN ('reserved', 'sold');
CREATE INDEX ix_order_items_code_id_user_id ON order_items (code_id, user_id) WHERE code_id IS NOT NULL;
DROP INDEX ix_order_items_code_id;
"""

WITHDRAWAL = """
CREATE INDEX ix_order_items_code_id ON order_items (code_id) WHERE code_id IS NOT NULL;
DROP INDEX ix_order_items_held, ix_order_items_code_id_user_id;
ALTER TABLE order_items
    DROP COLUMN user_id,
    ADD CONSTRAINT fk_order_items_order_id FOREIGN KEY (order_id) REFERENCES orders (id);
CREATE INDEX ix_orders_user_id_id ON orders (user_id, id);
ALTER TABLE orders DROP CONSTRAINT uq_orders_user_id_id;
"""


def upgrade() -> None:
    op.execute(ORDERS)
    op.execute(ORDER_ITEMS)


def downgrade() -> None:
    op.execute(WITHDRAWAL)
