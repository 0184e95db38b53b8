import json

from tools.stack import demo
from tools.stack.client import Answer


class Buyer:
    def __init__(self, *answers):
        self.answers, self.seen = list(answers), []

    def get(self, path, *, Prefer, If_None_Match):  # noqa: N803 the names of headers
        self.seen.append(If_None_Match)
        return self.answers.pop(0)


def order(stage, tag):
    body = {"id": 7, "status": "pending", "stage": stage, "reason": None}
    return Answer(200, {"etag": tag}, json.dumps(body).encode())


def test_a_poll_names_what_it_has_seen_so_that_no_move_falls_between_two():
    unchanged = Answer(304, {"etag": "one"}, b"")
    buyer = Buyer(unchanged, order("held", "two"), order("awaiting_payment", "three"))
    found = demo._poll(buyer, order("queued", "one"), lambda now: now["stage"] == "awaiting_payment")
    assert found.headers["etag"] == "three"
    assert buyer.seen == ["one", "one", "two"]
