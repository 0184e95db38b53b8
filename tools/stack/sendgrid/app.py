"""The HTTP face of the SendGrid stand-in: the mail API, the mailbox for people and programs, and the faults.

It listens on the loopback only, and shows mails to whoever asks: it is a mailbox for everyone.
"""

import base64
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from tools.stack.sendgrid import parcel, validation
from tools.stack.sendgrid.faults import Faults
from tools.stack.sendgrid.mailbox import Mailbox, Message
from tools.stack.sendgrid.webhooks import EventPoster, fate_of, known_events

FRAME_POLICY = (
    "default-src 'none'; img-src data: https:; style-src 'unsafe-inline'; "
    "sandbox allow-popups allow-popups-to-escape-sandbox"
)
"""Mail is foreign HTML: no scripts, no forms, nothing loaded from here."""


def create_app(
    mailbox: Mailbox,
    faults: Faults,
    poster: EventPoster,
    *,
    api_key: str | None = None,
    payload_limit: int = validation.PAYLOAD_LIMIT,
) -> Flask:
    """Return the application; without `api_key` any key is good."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = payload_limit
    app.jinja_env.filters["clock"] = lambda at: f"{datetime.fromtimestamp(at, UTC):%d %b %Y, %H:%M:%S} UTC"
    app.jinja_env.filters["short_clock"] = lambda at: f"{datetime.fromtimestamp(at, UTC):%d %b, %H:%M}"
    _add_mail_api(app, mailbox, faults, poster, api_key)
    _add_mailbox_api(app, mailbox)
    _add_pages(app, mailbox, poster)
    _add_event_routes(app, mailbox, poster)
    _add_faults(app, faults)
    app.register_error_handler(HTTPException, _answer_http_error)
    return app


def _add_mail_api(app: Flask, mailbox: Mailbox, faults: Faults, poster: EventPoster, api_key: str | None) -> None:
    @app.post("/v3/mail/send")
    def send_mail() -> tuple[Response, int] | Response:
        time.sleep(faults.latency)
        if plan := faults.take_failure():
            answer, status = _errors(plan.status, ("", "The stand-in was told to fail"))
            if plan.retry_after is not None:
                answer.headers["Retry-After"] = str(plan.retry_after)
            return answer, status
        if refusal := _refuse_caller(api_key):
            return refusal
        body: Any = request.get_json(silent=True)
        if errors := validation.check(body):
            return _errors(400, *errors)
        message_id = secrets.token_urlsafe(16)
        for message in mailbox.add(message_id, parcel.unpack(body)):
            poster.add(message, *fate_of(message.mail["to"]))
        faults.hold_answer()
        return Response(status=202, headers={"X-Message-Id": message_id})


def _refuse_caller(api_key: str | None) -> tuple[Response, int] | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or not key.strip():
        return _errors(401, ("", "Permission denied, wrong credentials"))
    if api_key is not None and not secrets.compare_digest(key.encode(), api_key.encode()):
        return _errors(401, ("", "The provided authorization grant is invalid, expired, or revoked"))
    if request.mimetype != "application/json":
        return _errors(415, ("", "Content-Type should be application/json."))
    return None


def _add_mailbox_api(app: Flask, mailbox: Mailbox) -> None:
    @app.get("/api/messages")
    def list_messages() -> Response:
        limit = request.args.get("limit", 200, type=int)
        return jsonify([_as_json(message, mailbox) for message in mailbox.newest(request.args.get("to"), limit)])

    @app.get("/api/messages/<int:number>")
    def read_message(number: int) -> Response:
        return jsonify(_as_json(_find(mailbox, number), mailbox))

    @app.delete("/api/messages")
    def clear_messages() -> tuple[str, int]:
        mailbox.clear()
        return "", 204

    @app.get("/healthz")
    def tell_health() -> Response:
        return jsonify(status="ok", name="SendGrid stand-in")


def _add_pages(app: Flask, mailbox: Mailbox, poster: EventPoster) -> None:
    @app.get("/")
    def show_mailbox() -> str:
        recipient = request.args.get("to", "").strip()
        messages = mailbox.newest(recipient or None, 100)
        return render_template("mailbox.html", messages=messages, recipient=recipient)

    @app.get("/messages/<int:number>")
    def show_message(number: int) -> str:
        message = _find(mailbox, number)
        return render_template(
            "message.html",
            message=message,
            mail=message.mail,
            events=mailbox.events(number),
            kinds=sorted(known_events()),
        )

    @app.get("/messages/<int:number>/html")
    def show_html(number: int) -> Response:
        message = _find(mailbox, number)
        # Looking at a mail loads SendGrid's counting picture, where it is allowed to put one in.
        if message.mail["open_tracking"]:
            poster.add(message, "open")
        page = parcel.page_of(message.mail, f"/messages/{number}/links/")
        return Response(page, mimetype="text/html", headers={"Content-Security-Policy": FRAME_POLICY})

    @app.get("/messages/<int:number>/attachments/<int:position>")
    def show_attachment(number: int, position: int) -> Response:
        attachments = _find(mailbox, number).mail["attachments"]
        if position >= len(attachments):
            abort(404)
        part = attachments[position]
        answer = Response(base64.b64decode(part["content"]), mimetype=part["type"])
        answer.headers.set("Content-Disposition", "attachment", filename=part["filename"])
        answer.headers["Content-Security-Policy"] = "sandbox"
        return answer


def _add_event_routes(app: Flask, mailbox: Mailbox, poster: EventPoster) -> None:
    @app.get("/messages/<int:number>/links/<int:position>")
    def follow_link(number: int, position: int) -> BaseResponse:
        message = _find(mailbox, number)
        links = parcel.links_of(message.mail)
        if position >= len(links):
            abort(404)
        poster.add(message, "click", url=links[position])
        return redirect(links[position])

    @app.post("/messages/<int:number>/events")
    def let_happen(number: int) -> BaseResponse:
        message, kind = _find(mailbox, number), request.form.get("event", "")
        if kind not in known_events():
            abort(400)
        more = {"url": (parcel.links_of(message.mail) or [""])[0]} if kind == "click" else {}
        poster.add(message, kind, **more)
        return redirect(url_for("show_message", number=number), code=303)


def _add_faults(app: Flask, faults: Faults) -> None:
    @app.get("/_standin/faults")
    def show_faults() -> Response:
        return jsonify(faults.as_dict())

    @app.post("/_standin/faults")
    def change_faults() -> tuple[Response, int] | Response:
        values = request.get_json(silent=True)
        try:
            faults.change(values if isinstance(values, dict) else {"": ""})
        except ValueError as error:
            return _errors(400, ("", str(error)))
        return jsonify(faults.as_dict())

    @app.delete("/_standin/faults")
    def clear_faults() -> Response:
        faults.clear()
        return jsonify(faults.as_dict())


def _find(mailbox: Mailbox, number: int) -> Message:
    message = mailbox.find(number)
    return message if message is not None else abort(404)


def _as_json(message: Message, mailbox: Mailbox) -> dict[str, Any]:
    return {
        "id": message.id,
        "message_id": message.message_id,
        "at": datetime.fromtimestamp(message.at, UTC).isoformat(),
        **message.mail,
        "events": [
            {"event": event.body["event"], "taken": event.taken_at is not None} for event in mailbox.events(message.id)
        ],
    }


def _errors(status: int, *errors: validation.Error) -> tuple[Response, int]:
    """Answer as SendGrid does; an empty field is null."""
    lines = [
        {"message": message, "field": field or None, "help": validation.HELP if field else None}
        for field, message in errors
    ]
    return jsonify(errors=lines), status


def _answer_http_error(error: HTTPException) -> tuple[Response, int]:
    return _errors(error.code or 500, ("", error.name))
