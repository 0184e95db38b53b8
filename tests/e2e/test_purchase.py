import base64
import io

import pytest
import zxingcpp
from PIL import Image

from adapters.ticket_signer import TicketSigner

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def buyer(stack):
    return stack.people(1)[0]


def test_a_purchase_ends_in_a_ticket_that_a_stranger_can_read_and_verify(stack, buyer):
    tier = stack.tier()
    order = buyer.buy(tier, 2)
    assert (order["status"], order["payment_status"], len(order["tickets"])) == ("confirmed", "completed", 2)
    ticket = buyer.get(f"/api/v1/tickets/{order['tickets'][0]['id']}").json()
    picture = Image.open(io.BytesIO(buyer.get(f"/api/v1/tickets/{ticket['id']}/qr.png").content))
    read = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)[0].text
    kid, _, seed = stack.environment["TICKET_KEYS"].partition(":")
    claims = TicketSigner({kid: seed}).verify(read)
    assert (claims.code, str(claims.event_id)) == (ticket["code"], tier["event_id"])
    mail = stack.mail_to(buyer.email, order["number"])
    shown = [part for part in mail["attachments"] if part["content_id"]]
    assert len(shown) == 2
    texts = {
        zxingcpp.read_barcodes(
            Image.open(io.BytesIO(base64.b64decode(part["content"]))), formats=zxingcpp.BarcodeFormat.QRCode
        )[0].text
        for part in shown
    }
    assert read in texts


def test_a_free_order_skips_stripe(stack, buyer):
    order = buyer.order(stack.tier(price=0)).json()
    order = buyer.poll(order, lambda now: now["stage"] == "complete")
    assert (order["payment"], order["amounts"]["total"], order["payment_status"]) == (None, 0, "completed")


def test_a_declined_card_is_no_end(stack, buyer):
    order = buyer.order(stack.tier()).json()
    order = buyer.poll(order, lambda now: now["stage"] == "awaiting_payment")
    buyer.post(f"/api/v1/orders/{order['id']}/confirm", {"payment_method": "pm_card_chargeDeclined"})
    order = buyer.poll(order, lambda now: now["payment"]["last_error"] is not None)
    assert order["stage"] == "awaiting_payment"
    assert buyer.pay(order)["status"] == "confirmed"


def test_an_order_that_was_cancelled_gives_its_stock_to_the_next(stack):
    first, second = stack.people(2)
    tier = stack.tier(quantity=1)
    order = first.order(tier).json()
    order = first.poll(order, lambda now: now["stage"] == "awaiting_payment")
    assert first.post(f"/api/v1/orders/{order['id']}/cancel").status_code == 202
    order = first.poll(order, lambda now: now["stage"] == "closed")
    assert order["reason"] == "buyer_cancelled"
    stack.until("SELECT reserved, sold FROM ticket_tiers WHERE id = :id", [(0, 0)], id=tier["id"])
    assert second.pay(second.order_freed(tier))["status"] == "confirmed"


class TestWaitlist:
    def join(self, person, tier):
        answer = person.post(f"/api/v1/events/{tier['event_id']}/waitlist", {"tier_id": tier["id"], "quantity": 1})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def sold_out(self, stack, owner):
        tier = stack.tier(quantity=1)
        return tier, owner.buy(tier)

    def until_offered(self, stack, entry):
        stack.until("SELECT status FROM waitlist WHERE id = :id", [("offered",)], id=entry["id"])

    def test_a_refund_leads_to_an_offer_which_ends_in_a_ticket(self, stack):
        owner, first, second = stack.people(3)
        tier, order = self.sold_out(stack, owner)
        refused = first.order(tier)
        assert (refused.status_code, refused.json()["code"]) == (409, "sold-out")
        entries = [self.join(person, tier) for person in (first, second)]
        assert [entry["position"] for entry in entries] == [1, 2]
        promoter = stack.person("promoter@example.com")
        assert promoter.post(f"/api/v1/orders/{order['id']}/refund", {"reason": "ill"}).status_code == 202
        self.until_offered(stack, entries[0])
        assert owner.poll(order, lambda now: now["status"] == "refunded")["payment_status"] == "refunded"
        assert stack.mail_to(first.email, "come free")
        assert first.order(tier).status_code == 409
        accepted = first.post(f"/api/v1/waitlist/{entries[0]['id']}/accept")
        assert accepted.status_code == 202, accepted.text
        order = first.get(accepted.headers["Location"]).json()
        assert first.pay(order)["status"] == "confirmed"
        assert second.get(f"/api/v1/waitlist/{entries[1]['id']}").json()["position"] == 1

    def test_a_hold_that_ran_out_leads_to_an_offer_and_an_offer_that_ran_out_to_the_next(self, stack):
        owner, first, second = stack.people(3)
        tier = stack.tier(quantity=1)
        order = owner.order(tier).json()
        owner.poll(order, lambda now: now["stage"] == "awaiting_payment")
        entries = [self.join(person, tier) for person in (first, second)]
        stack.change("UPDATE orders SET hold_expires_at = now() - interval '1 s' WHERE id = :id", id=order["id"])
        assert owner.poll(order, lambda now: now["stage"] == "closed")["reason"] == "hold_expired"
        self.until_offered(stack, entries[0])
        offer = first.get(f"/api/v1/waitlist/{entries[0]['id']}").json()["offer"]
        late = "UPDATE orders SET hold_expires_at = now() - interval '1 s' WHERE id = :id"
        stack.change(late, id=offer["order_id"])
        self.until_offered(stack, entries[1])
        assert first.get(f"/api/v1/waitlist/{entries[0]['id']}").json()["status"] == "expired"
        assert second.post(f"/api/v1/waitlist/{entries[1]['id']}/decline").status_code == 202
        stack.until("SELECT reserved, sold FROM ticket_tiers WHERE id = :id", [(0, 0)], id=tier["id"])


def test_one_request_id_leads_from_the_request_through_every_task(stack, buyer):
    tier = stack.tier()
    order = buyer.order(tier).json()
    buyer.pay(order)
    stack.mail_to(buyer.email, order["number"])
    request_id = stack.rows("SELECT request_id FROM orders WHERE id = :id", id=order["id"])[0][0]
    logs = {path.stem: path.read_text() for path in (stack.folder / "logs").glob("*.log")}
    found = {name for name, log in logs.items() if request_id in log}
    assert {"web", "payments", "tickets", "notifications"} <= found
    assert found & {"allocator-1", "allocator-2"}
