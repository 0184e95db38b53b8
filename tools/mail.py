"""Mail templates as their reader sees them: `vendor mail preview` writes each with sample data, as HTML and as text."""

import base64
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from adapters.letters import Letters
from adapters.qr_renderer import QRRenderer
from domain.ports import Letter
from tools.mail_samples import SAMPLES

REFERENCE = UUID("0199c2f0-0000-7000-8000-000000000001")


def preview(templates: Sequence[str], folder: Path) -> int:
    """Write these templates, or all, into a folder; fail for a name that is none."""
    if unknown := [name for name in templates if name not in SAMPLES]:
        print(f"No such template: {', '.join(unknown)}. There are {', '.join(sorted(SAMPLES))}.", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for name in templates or sorted(SAMPLES):
        rendered = Letters().render(Letter(REFERENCE, name, "ada@example.com", "Ada Lovelace", SAMPLES[name]))
        (folder / f"{name}.html").write_text(_with_pictures(rendered.html, name), encoding="utf-8")
        (folder / f"{name}.txt").write_text(f"Subject: {rendered.subject}\n\n{rendered.text}", encoding="utf-8")
        print(f"{folder / name}.html  {rendered.subject}")
    return 0


def _with_pictures(html: str, name: str) -> str:
    """Put the QR codes where a mail program would, so that a browser shows them, too."""
    for ticket in SAMPLES[name].get("tickets", ()):
        picture = base64.b64encode(QRRenderer().png(ticket["code"])).decode()
        html = html.replace(f"cid:{ticket['cid']}", f"data:image/png;base64,{picture}")
    return html
