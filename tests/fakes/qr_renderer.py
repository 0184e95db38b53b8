"""A renderer that draws nothing: the text, marked with its format."""


class FakeQRRenderer:
    def png(self, text: str) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + text.encode()

    def svg(self, text: str) -> bytes:
        return f"<svg xmlns='http://www.w3.org/2000/svg'><!--{text}--></svg>".encode()
