import subprocess
import sys

from tools.stack.environment import ROOT


def vendor(stack, *arguments):
    command = [sys.executable, "-m", "tools.stack.vendor", "--data", str(stack.folder), *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_what_was_sold_and_refunded_adds_up_by_the_api_and_by_the_command(stack):
    tier = stack.tier(price=2500)
    buyer, other = stack.people(2)
    promoter = stack.person("promoter@example.com")
    kept, gone = buyer.buy(tier, 2), other.buy(tier)
    answer = promoter.post(f"/api/v1/orders/{gone['id']}/refund", {"reason": "rain"})
    assert answer.status_code == 202, answer.text
    other.poll(gone, lambda now: now["status"] == "refunded")

    address = f"/api/v1/events/{tier['event_id']}/statement"
    assert promoter.get(address).status_code == 202
    stack.until("SELECT count(made_at) FROM statements WHERE event_id = :id", [(1,)], id=tier["event_id"])
    statement = promoter.get(address).json()
    paid, back = kept["amounts"]["total"], gone["amounts"]["total"]
    for account in ("provider", "ledger"):
        assert statement[account] | {"fees": 0} == {
            "charged": paid + back,
            "fees": 0,
            "refunded": back,
            "disputed": 0,
            "kept": paid,
        }
    assert (statement["difference"], statement["mismatches"]) == (0, [])
    assert statement["tickets"] == {"live": 2, "face_value": 5000}

    said = vendor(stack, "statement", tier["event_id"])
    assert (said.returncode, said.stderr) == (0, "")
    assert tier["event_id"] in said.stdout
    stack.change("UPDATE tickets SET status = 'cancelled' WHERE order_id = :id", id=kept["id"])
    said = vendor(stack, "statement", tier["event_id"])
    assert (said.returncode, said.stderr) == (1, "")
    assert f"MISMATCH paid_without_tickets: order {kept['number']}" in said.stdout
    # Others look at the same stack.
    stack.change("UPDATE tickets SET status = 'valid' WHERE order_id = :id", id=kept["id"])


def test_the_other_commands_work_on_the_running_stack_too(stack):
    (person,) = stack.people(1)
    said = vendor(stack, "role", person.email, "promoter")
    assert (said.returncode, said.stdout) == (0, f"{person.email} is now promoter.\n")
