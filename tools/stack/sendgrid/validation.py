"""What SendGrid refuses in a `POST /v3/mail/send`, with its own words where they are documented.

Source: twilio.com/docs/sendgrid/api-reference/mail-send (parameters, limitations, errors).
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

PAYLOAD_LIMIT = 30 * 1024 * 1024
RECIPIENT_LIMIT = 1000
CUSTOM_ARGS_LIMIT = 10_000
CATEGORY_LIMIT = 10
TEXT_LIMIT = 255
SUBJECT_LIMIT = 998
HELP = "https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors"
RECIPIENTS = ("to", "cc", "bcc")

Error = tuple[str, str]
"""A field and what is wrong with it."""

_ADDRESS = re.compile(r"[^@\s<>,;]{1,64}@[^@\s<>,;]+\.[^@\s<>,;.]+")
_KNOWN = (
    {"personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id"}
    | {"headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name"}
    | {"mail_settings", "tracking_settings"}
)
_PERSONALIZATION = {"from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data"} | {
    "custom_args",
    "send_at",
}


def check(body: object) -> list[Error]:
    """Return all that is wrong with a decoded request; an empty list is an acceptable mail."""
    if not isinstance(body, Mapping):
        return [("", "Bad Request")]
    return [
        *((name, f"Additional property {name} is not allowed") for name in body if name not in _KNOWN),
        *_check_personalizations(body),
        *_check_sender(body),
        *_check_content(body.get("content"), templated="template_id" in body),
        *_check_attachments(body.get("attachments", [])),
        *_check_custom_args("custom_args", body.get("custom_args", {})),
        *_check_categories(body.get("categories", [])),
    ]


def _check_personalizations(body: Mapping[str, Any]) -> Iterator[Error]:
    blocks = body.get("personalizations")
    if not isinstance(blocks, list) or not blocks:
        yield "personalizations", "You must have at least one personalization."
        return
    if len(blocks) > RECIPIENT_LIMIT:
        yield "personalizations", f"The personalization block is limited to {RECIPIENT_LIMIT} per API request."
    total = 0
    for position, block in enumerate(blocks):
        field = f"personalizations.{position}"
        if not isinstance(block, Mapping):
            yield field, "Each personalization must be an object."
            continue
        yield from _check_personalization(field, block)
        yield from _check_subject(f"{field}.subject", block.get("subject") or body.get("subject"), body)
        total += sum(len(people) for kind in RECIPIENTS if isinstance(people := block.get(kind), list))
    if total > RECIPIENT_LIMIT:
        yield "personalizations", f"There is a limit of {RECIPIENT_LIMIT} total recipients (to + cc + bcc) per request."


def _check_personalization(field: str, block: Mapping[str, Any]) -> Iterator[Error]:
    for name in block:
        if name not in _PERSONALIZATION:
            yield f"{field}.{name}", f"Additional property {name} is not allowed"
    if not block.get("to"):
        yield (
            f"{field}.to",
            "The to parameter is required for all personalization objects, and must have at least one email object.",
        )
    seen: set[str] = set()
    for kind in RECIPIENTS:
        people = block.get(kind, [])
        if not isinstance(people, list):
            yield f"{field}.{kind}", f"The {kind} parameter must be an array."
            continue
        for position, person in enumerate(people):
            yield from _check_person(f"{field}.{kind}.{position}", person)
            address = str(person.get("email", "")).lower() if isinstance(person, Mapping) else ""
            if address and address in seen:
                yield (
                    field,
                    (
                        "Each email address in the personalization block should be unique between to, cc, and bcc. "
                        f"We found the first duplicate instance of [{address}] in the {field}.{kind} field."
                    ),
                )
            seen.add(address)
    yield from _check_custom_args(f"{field}.custom_args", block.get("custom_args", {}))


def _check_person(field: str, person: object) -> Iterator[Error]:
    if not isinstance(person, Mapping) or not _ADDRESS.fullmatch(str(person.get("email", ""))):
        yield f"{field}.email", "Does not contain a valid address."
        return
    name = person.get("name", "")
    if not isinstance(name, str) or re.search("[;,]", name):
        yield f"{field}.name", "The name must be a string without ; or , characters."


def _check_sender(body: Mapping[str, Any]) -> Iterator[Error]:
    sender = body.get("from")
    if not isinstance(sender, Mapping) or not sender.get("email"):
        yield "from.email", "The from object must be provided for every email send."
    elif not _ADDRESS.fullmatch(str(sender["email"])):
        yield "from.email", "The from email does not contain a valid address."
    if "reply_to" in body:
        yield from _check_person("reply_to", body["reply_to"])


def _check_subject(field: str, subject: object, body: Mapping[str, Any]) -> Iterator[Error]:
    if "template_id" in body:
        return
    if not isinstance(subject, str) or not subject:
        yield (
            "subject",
            (
                "The subject is required. You can get around this requirement if you use a template with a subject "
                "defined or if every personalization has a subject defined."
            ),
        )
    elif len(subject) > SUBJECT_LIMIT or "\n" in subject or "\r" in subject:
        yield field, f"The subject must be one line of at most {SUBJECT_LIMIT} characters."


def _check_content(content: object, *, templated: bool) -> Iterator[Error]:
    if content is None and templated:
        return
    if not isinstance(content, list) or not content:
        yield (
            "content",
            (
                "Unless a valid template_id is provided, the content parameter is required. "
                "There must be at least one defined content block."
            ),
        )
        return
    kinds: list[str] = []
    for position, block in enumerate(content):
        kind, value = (block.get("type"), block.get("value")) if isinstance(block, Mapping) else (None, None)
        kinds.append(str(kind))
        if not isinstance(kind, str) or not re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind):
            yield f"content.{position}.type", "The content type must be a MIME type."
        if not isinstance(value, str) or not value:
            yield f"content.{position}.value", "The content value must be a string at least one character in length."
    order = {"text/plain": 0, "text/html": 1}
    if sorted(kinds, key=lambda kind: order.get(kind, 2)) != kinds:
        yield "content", "If present, text/plain must be first, followed by text/html, followed by any other content."
    if any(kinds.count(kind) > 1 for kind in order):
        yield "content", "If present, text/plain and text/html may only be provided once."


def _check_attachments(attachments: object) -> Iterator[Error]:
    if not isinstance(attachments, list):
        yield "attachments", "The attachments parameter must be an array."
        return
    for position, attachment in enumerate(attachments):
        field = f"attachments.{position}"
        if not isinstance(attachment, Mapping):
            yield field, "Each attachment must be an object."
            continue
        if not _is_base64(attachment.get("content")):
            yield f"{field}.content", "The attachment content must be base64 encoded."
        if not isinstance(attachment.get("filename"), str) or not attachment["filename"]:
            yield f"{field}.filename", "The attachment filename is required."
        disposition = attachment.get("disposition", "attachment")
        if disposition not in {"attachment", "inline"}:
            yield f"{field}.disposition", 'The disposition must be either "attachment" or "inline".'
        elif disposition == "inline" and not attachment.get("content_id"):
            yield f"{field}.content_id", "The content_id is required when the disposition is inline."


def _is_base64(content: object) -> bool:
    try:
        return isinstance(content, str) and bool(base64.b64decode(content, validate=True))
    except (binascii.Error, ValueError):
        return False


def _check_custom_args(field: str, custom_args: object) -> Iterator[Error]:
    if not isinstance(custom_args, Mapping):
        yield field, "The custom_args must be an object."
        return
    for name, value in custom_args.items():
        if not isinstance(value, str):
            yield f"{field}.{name}", "The custom_args values must be strings."
    if sum(len(f"{name}{value}".encode()) for name, value in custom_args.items()) >= CUSTOM_ARGS_LIMIT:
        yield field, f"The total length of custom arguments must be less than {CUSTOM_ARGS_LIMIT} bytes."


def _check_categories(categories: object) -> Iterator[Error]:
    if not isinstance(categories, list):
        yield "categories", "The categories parameter must be an array."
        return
    if len(categories) > CATEGORY_LIMIT:
        yield "categories", f"There is a limit of {CATEGORY_LIMIT} categories per request."
    if len({str(category) for category in categories}) != len(categories):
        yield "categories", "The categories must be unique."
    for position, category in enumerate(categories):
        if not isinstance(category, str) or not category or len(category) > TEXT_LIMIT:
            yield f"categories.{position}", f"Each category must be a string of 1 to {TEXT_LIMIT} characters."
