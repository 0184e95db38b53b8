import os
import signal
import subprocess
import sys
import time

import pytest
from sendgrid import EventWebhook

from tests.fixtures.sendgrid import ATTACHMENT, MAIL, PICTURE, call, read, send, wait_until
from tools.stack.sendgrid.server import SendGridStandIn


class TestEvents:
    def test_a_mail_is_processed_and_delivered_with_valid_signatures(self, standin, receiver):
        message_id = send(standin)[1]["X-Message-Id"]
        events = receiver.wait_for("processed", "delivered")
        assert [event["event"] for event in events] == ["processed", "delivered"]
        assert len({event["sg_event_id"] for event in events}) == 2
        for event in events:
            assert event["notification_id"] == "n-1"
            assert event["email"] == "ada@example.com"
            assert event["category"] == ["order_confirmed"]
            assert event["sg_message_id"].startswith(f"{message_id}.")
            assert isinstance(event["timestamp"], int)
        webhook = EventWebhook(standin.key.public_key)
        for _, headers, body in receiver.calls:
            signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
            timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"]
            assert webhook.verify_signature(body.decode(), signature, timestamp)
            assert abs(time.time() - int(timestamp)) < 30

    @pytest.mark.parametrize(
        ("recipient", "kinds"),
        [
            ("bounce@example.com", ["processed", "bounce"]),
            ("Bounce.two@example.com", ["processed", "bounce"]),
            ("blocked@example.com", ["processed", "bounce"]),
            ("dropped@example.com", ["dropped"]),
            ("deferred@example.com", ["processed", "deferred", "delivered"]),
            ("spam@example.com", ["processed", "delivered", "spamreport"]),
        ],
    )
    def test_some_addresses_have_another_fate(self, standin, receiver, recipient, kinds):
        send(standin, MAIL | {"personalizations": [{"to": [{"email": recipient}]}]})
        receiver.wait_for(*kinds)
        assert [event["event"] for event in receiver.events()] == kinds
        refused = [event for event in receiver.events() if event["event"] in {"bounce", "dropped"}]
        assert all(event["reason"] and event["status"] for event in refused)

    def test_an_event_that_was_not_taken_is_posted_again_unchanged(self, standin, receiver):
        receiver.script = [500, 404]
        send(standin)
        delivered = receiver.wait_for("delivered")
        assert len(receiver.calls) >= 3
        tries = [event for event in receiver.events(taken=False) if event["event"] == "delivered"]
        assert {event["sg_event_id"] for event in tries} == {delivered[0]["sg_event_id"]}
        wait_until(lambda: all(event["taken"] for event in read(standin)[0]["events"]))

    def test_events_wait_while_they_are_paused_and_survive_a_restart(self, options, receiver):
        with SendGridStandIn(options) as standin:
            standin.faults.change({"webhooks_paused": True})
            send(standin)
            assert [event["taken"] for event in read(standin)[0]["events"]] == [False, False]
            public_key = standin.key.public_key
        assert receiver.calls == []
        with SendGridStandIn(options) as standin:
            receiver.wait_for("processed", "delivered")
            assert read(standin)[0]["subject"] == "Hello"
            assert standin.key.public_key == public_key

    def test_a_batch_can_be_posted_many_times(self, standin, receiver):
        standin.faults.change({"webhook_duplicates": 2})
        send(standin)
        wait_until(lambda: len([e for e in receiver.events() if e["event"] == "delivered"]) == 3)
        assert len({event["sg_event_id"] for event in receiver.events()}) == 2

    def test_events_can_be_made_to_happen_by_hand(self, standin, receiver):
        send(standin)
        for kind in ("open", "click", "bounce", "dropped", "spamreport"):
            status, headers, _ = call(f"{standin.url}/messages/1/events", body=f"event={kind}".encode())
            assert (status, headers["Location"]) == (303, "/messages/1")
        click = receiver.wait_for("open", "click", "bounce", "dropped", "spamreport")[1]
        assert click["url"] == "https://x.example/?a=1&b=2"
        assert call(f"{standin.url}/messages/1/events", body=b"event=flood")[0] == 400
        assert call(f"{standin.url}/messages/9/events", body=b"event=open")[0] == 404


class TestPages:
    def test_every_page_says_that_this_is_a_stand_in(self, standin):
        send(standin)
        for path in ("/", "/?to=nobody@example.com", "/messages/1"):
            status, _, page = call(standin.url + path)
            assert status == 200
            assert b"SendGrid stand-in: nothing leaves this machine" in page

    def test_foreign_values_are_shown_as_text(self, standin):
        send(standin, MAIL | {"subject": "<script>alert(1)</script>"})
        for path in ("/", "/messages/1", "/?to=%22%3E%3Cscript%3E"):
            assert b"<script" not in call(standin.url + path)[2]

    def test_mail_is_framed_without_scripts_and_with_its_pictures(self, standin):
        html = '<html><head><title>x</title></head><img src="cid:a"><img src="cid:other"></html>'
        send(standin, MAIL | {"content": [{"type": "text/html", "value": html}], "attachments": [ATTACHMENT]})
        assert b'sandbox="allow-popups allow-popups-to-escape-sandbox"' in call(f"{standin.url}/messages/1")[2]
        _, headers, page = call(f"{standin.url}/messages/1/html")
        assert f'src="data:image/png;base64,{PICTURE}"'.encode() in page
        assert b'src="cid:other"' in page
        assert b'<base target="_blank">' in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "allow-scripts" not in policy

    def test_looking_counts_as_an_open_and_a_link_as_a_click(self, standin, receiver):
        send(standin)
        page = call(f"{standin.url}/messages/1/html")[2].decode()
        assert 'href="/messages/1/links/0"' in page
        status, headers, _ = call(f"{standin.url}/messages/1/links/0")
        assert (status, headers["Location"]) == (302, "https://x.example/?a=1&b=2")
        assert receiver.wait_for("open", "click")[1]["url"] == "https://x.example/?a=1&b=2"
        assert call(f"{standin.url}/messages/1/links/1")[0] == 404

    def test_without_tracking_nothing_is_counted_and_links_stay(self, standin):
        off = {"click_tracking": {"enable": False}, "open_tracking": {"enable": False}}
        send(standin, MAIL | {"tracking_settings": off})
        assert b'href="https://x.example/?a=1&amp;b=2"' in call(f"{standin.url}/messages/1/html")[2]
        assert [event["event"] for event in read(standin)[0]["events"]] == ["processed", "delivered"]

    def test_attachments_can_be_saved(self, standin):
        send(standin, MAIL | {"attachments": [ATTACHMENT]})
        status, headers, body = call(f"{standin.url}/messages/1/attachments/0")
        assert (status, body, headers["Content-Type"]) == (200, b"\x89PNG", "image/png")
        assert headers["Content-Disposition"] == "attachment; filename=a.png"
        assert call(f"{standin.url}/messages/1/attachments/1")[0] == 404

    def test_an_unknown_message_is_not_found(self, standin):
        for path in ("/messages/7", "/messages/7/html", "/messages/7/attachments/0", "/api/messages/7"):
            assert call(standin.url + path)[0] == 404


class TestProgram:
    COMMAND = (sys.executable, "-m", "tools.stack.sendgrid")

    def test_it_prints_the_key_that_it_signs_with(self, options):
        command = [*self.COMMAND, "--print-public-key", "--signing-key", str(options.signing_key)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
        assert options.signing_key.stat().st_mode & 0o777 == 0o600
        with SendGridStandIn(options) as standin:
            assert standin.key.public_key == printed
        EventWebhook(printed)

    def test_it_starts_says_where_and_ends_on_sigterm(self, tmp_path):
        command = [*self.COMMAND, "--port", "0", "--data", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            assert line.startswith("SendGrid stand-in: http://127.0.0.1:")
            assert call(f"{line.split()[2]}/healthz")[0] == 200
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(10) == 0
