"""Pictures of ticket codes (port `QRRenderer`): PNG for mails and pages, SVG for print.

`qrcode` computes the modules; we draw them ourselves, because drawing one rectangle per module costs more
than the code itself, and an SVG of one path is a sixth of the size.
"""

from io import BytesIO

from PIL import Image
from qrcode.constants import ERROR_CORRECT_M
from qrcode.main import QRCode

QUIET_ZONE = 4
"""Modules of white around the code, as ISO/IEC 18004 asks."""
FIXED_MASK = 3
"""Trying all eight masks takes three quarters of the time; any one of them reads as well."""


class QRRenderer:
    """Renders at error correction level M, which survives a scratched screen and keeps the code small."""

    def __init__(self, scale: int = 8) -> None:
        self._scale = scale

    def png(self, text: str) -> bytes:
        """Render as a black and white PNG of `scale` pixels per module."""
        rows = _modules(text)
        side = len(rows)
        # One pixel per module, then enlarged without smoothing: exact edges, and no loop over pixels.
        small = Image.frombytes("L", (side, side), b"".join(rows)).convert("1", dither=Image.Dither.NONE)
        picture = small.resize((side * self._scale, side * self._scale), Image.Resampling.NEAREST)
        stream = BytesIO()
        picture.save(stream, format="PNG")
        return stream.getvalue()

    def svg(self, text: str) -> bytes:
        """Render as a square SVG without a size of its own: one path, one stroke per run of dark modules."""
        rows = _modules(text)
        strokes = "".join(_strokes(row, y) for y, row in enumerate(rows))
        side = len(rows)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
            f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path stroke="#000" d="{strokes}"/></svg>'
        ).encode("ascii")


def _modules(text: str) -> list[bytes]:
    """Return the rows of the code with its quiet zone: 0 is a dark module, 255 a light one."""
    code = QRCode(error_correction=ERROR_CORRECT_M, border=QUIET_ZONE, mask_pattern=FIXED_MASK)
    code.add_data(text, optimize=0)
    code.make(fit=True)
    return [bytes(0 if dark else 255 for dark in row) for row in code.get_matrix()]


def _strokes(row: bytes, y: int) -> str:
    """Draw one row relative to its first dark module; a stroke is one unit wide and centred on the row."""
    path, x, pen = "", 0, -1
    while (start := row.find(0, x)) != -1:
        x = row.find(255, start)
        path += f"M{start} {y}.5h{x - start}" if pen < 0 else f"m{start - pen} 0h{x - start}"
        pen = x
    return path
