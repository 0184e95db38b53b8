"""Takes an accepted request apart: one mail for each recipient, as the mailbox keeps it.

Also answers what a mail is for the page: its HTML with pictures in place, the links in it.
"""

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any

_INLINE = re.compile(r"""(?<=["'(])cid:([^"')\s]+)""")
_LINK = re.compile(r"""(<a\b[^>]*?\bhref\s*=\s*)(["'])(https?://.*?)\2""", re.IGNORECASE | re.DOTALL)


def unpack(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return one mail per recipient (to, cc and bcc alike), as SendGrid sends and reports them."""
    shared = _shared(body)
    for block in body["personalizations"]:
        for kind in ("to", "cc", "bcc"):
            for person in block.get(kind, []):
                yield shared | {
                    "to": person["email"],
                    "to_name": person.get("name", ""),
                    "kind": kind,
                    "subject": block.get("subject") or body.get("subject", ""),
                    "custom_args": {**body.get("custom_args", {}), **block.get("custom_args", {})},
                }


def _shared(body: Mapping[str, Any]) -> dict[str, Any]:
    content = {block["type"]: block["value"] for block in body.get("content", [])}
    tracking = body.get("tracking_settings", {})
    return {
        "from": body["from"]["email"],
        "from_name": body["from"].get("name", ""),
        "reply_to": body.get("reply_to", {}).get("email"),
        "text": content.get("text/plain", ""),
        "html": content.get("text/html", ""),
        "attachments": [_attachment(attachment) for attachment in body.get("attachments", [])],
        "categories": body.get("categories", []),
        "headers": body.get("headers", {}),
        "mail_settings": body.get("mail_settings", {}),
        "click_tracking": tracking.get("click_tracking", {}).get("enable", True),
        "open_tracking": tracking.get("open_tracking", {}).get("enable", True),
    }


def _attachment(attachment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filename": attachment["filename"],
        "type": attachment.get("type", "application/octet-stream"),
        "content_id": attachment.get("content_id"),
        "disposition": attachment.get("disposition", "attachment"),
        "content": attachment["content"],
    }


def links_of(mail: Mapping[str, Any]) -> list[str]:
    """Return the addresses that the mail's HTML links to."""
    return [html.unescape(found[2]) for found in _LINK.findall(mail["html"])]


def page_of(mail: Mapping[str, Any], click_address: str) -> str:
    """Return the HTML as a reader sees it.

    Pictures named by `cid:` are put in place. Where click tracking is on, each link goes through
    `click_address`, followed by its position, as SendGrid rewrites links.
    """
    pictures = {part["content_id"]: part for part in mail["attachments"] if part["content_id"]}
    page = _INLINE.sub(lambda found: _data_address(pictures.get(found[1]), found[0]), mail["html"])
    if mail["click_tracking"]:
        positions = iter(range(len(_LINK.findall(page))))
        page = _LINK.sub(lambda found: f"{found[1]}{found[2]}{click_address}{next(positions)}{found[2]}", page)
    # The page is shown in a frame: links must open outside it.
    return re.sub(r"(<head\b[^>]*>)", r'\1<base target="_blank">', page, count=1, flags=re.IGNORECASE)


def _data_address(part: Mapping[str, Any] | None, otherwise: str) -> str:
    return f"data:{part['type']};base64,{part['content']}" if part else otherwise
