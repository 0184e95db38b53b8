import secrets
import xml.etree.ElementTree as ET
from io import BytesIO

import pytest
import zxingcpp
from PIL import Image

from adapters.qr_renderer import QRRenderer

TEXT = "TV1.k1.PZJWVrdrQvCAoULUh22cXQABUGFiOEJvUTJJZlpjVUpuSVF2TkM4ZymDXGDvDelOXEcGsiP6AxkHzxaaQm8QxL40sGjZMPXU"


@pytest.fixture
def renderer():
    return QRRenderer()


def read(picture):
    codes = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode)
    assert [code.format for code in codes] == [zxingcpp.BarcodeFormat.QRCode]
    return codes[0]


def rasterise(svg, scale=6):
    # Only what we draw is understood: a background, and strokes of whole modules. Anything else fails the reading.
    root = ET.fromstring(svg)
    side = int(root.get("viewBox").split()[2])
    picture = Image.new("L", (side, side), 255)
    strokes = root.findall("{http://www.w3.org/2000/svg}path")[1].get("d")
    x = y = 0
    for part in strokes.replace("M", " M").replace("m", " m").split(" "):
        if part.startswith("M"):
            x = int(part[1:])
        elif part.startswith("m"):
            x += int(part[1:])
        elif part:
            middle, _, length = part.partition("h")
            y = y if middle == "0" else int(middle.removesuffix(".5"))
            for step in range(int(length)):
                picture.putpixel((x + step, y), 0)
            x += int(length)
    return picture.resize((side * scale, side * scale), Image.Resampling.NEAREST)


def test_an_independent_reader_reads_forty_of_forty(renderer):
    texts = ["TV1.k1." + secrets.token_urlsafe(104) for _ in range(40)]
    pictures = [Image.open(BytesIO(renderer.png(text))).convert("L") for text in texts]
    assert [read(picture).text for picture in pictures] == texts


def test_it_reads_on_a_poor_screen(renderer):
    picture = Image.open(BytesIO(renderer.png(TEXT))).convert("L")
    small = picture.resize((190, 190), Image.Resampling.BILINEAR)
    assert read(small.point(lambda value: 70 + value // 3)).text == TEXT


def test_the_png_is_small_black_and_white_and_keeps_its_quiet_zone(renderer):
    png = renderer.png(TEXT)
    picture = Image.open(BytesIO(png))
    assert picture.mode == "1"
    assert len(png) < 2000
    margin = 4 * 8
    dark = picture.convert("L").point(lambda value: 255 - value).getbbox()
    assert dark == (margin, margin, picture.width - margin, picture.height - margin)


def test_the_level_survives_a_scratch(renderer):
    assert read(Image.open(BytesIO(renderer.png(TEXT))).convert("L")).ec_level == "M"


def test_the_svg_says_the_same(renderer):
    svg = renderer.svg(TEXT)
    assert read(rasterise(svg)).text == TEXT
    assert len(svg) < 5000


def test_the_same_text_gives_the_same_picture(renderer):
    assert renderer.png(TEXT) == renderer.png(TEXT)
    assert renderer.svg(TEXT) == renderer.svg(TEXT)
