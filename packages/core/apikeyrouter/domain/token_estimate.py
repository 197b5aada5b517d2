r"""How many tokens a request's body makes, about, without a tokenizer.

Counts classes of bytes in the raw JSON: a letter, digit, sign, CJK character and so on each
cost what they cost on average. Of a body beyond 2 KB only pieces are counted, and base64
attachments are stepped over, so that the cost hardly depends on the size. What remains off is
corrected by what the provider reports, per provider and model.
"""

_WHOLE_BYTES = 2048
#: A longer body is judged by so many pieces, one of each part of its text. Where in the part
#: differs, so that a text that repeats itself is not met at the same place each time.
_PIECES, _PIECE_BYTES = 12, 128
_PLACES = tuple(int((part + (0.5 + part * 0.618034) % 1) * 1024) for part in range(_PIECES + 1))

_ASCII, _BEYOND_ASCII = bytes(range(0x80)), bytes(range(0x80, 0x100))
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_ESCAPE_REST = b"u0123456789abcdefABCDEF"
_BASE64 = _LETTERS + _DIGITS + b"+/-_="

#: Average tokens of one byte of each class, fitted to o200k_base on prose of 28 languages, code,
#: markup, logs, tables and JSON. What none names is a sign.
_PER_LETTER, _PER_DIGIT, _PER_SIGN = 0.21, 0.70, 0.69
_CHEAP_SIGNS = ((b" ", 0.09), (b'"\\', 0.17))
#: A character beyond ASCII counts by its first byte; the bytes that continue it are free.
_WIDE = (
    (bytes(range(0x80, 0xC0)), 0.0),
    (bytes(range(0xE3, 0xEE)), 0.70),  # Chinese, Japanese, Korean
    (bytes(range(0xD0, 0xD5)), 0.25),  # Cyrillic
    (bytes(range(0xC3, 0xCA)), 1.15),  # accented Latin: splits its word
    (bytes(range(0xF0, 0x100)), 1.70),  # emoji
)
_PER_OTHER = 0.35
#: One byte of base64, hashes and the like: text with hardly anything between letters and digits.
_PER_DENSE, _DENSE_SHARE = 0.68, 16
#: What the JSON around the text seems to cost but does not: once, and for each message.
_ENVELOPE_TOKENS, _MESSAGE_TOKENS = 10.0, 5.0

#: Tokens of one embedded image, sound or file, whatever its size in bytes.
_ATTACHMENT_TOKENS = 765
#: Attachments are looked for at growing distances; a shorter one may count as text.
_STRIDE_BYTES, _FAR_STRIDES, _MOST_STOPS = 2048, 8, 32
#: So many bytes without a blank or a sign are no prose.
_RUN_BYTES = 48
_RUN = b"x" * _RUN_BYTES
_RUN_CLASSES = bytes(ord("x") if byte in _BASE64 else ord(" ") for byte in range(256))
#: Base64 under these keys is read by the model, letter by letter.
_TEXT_KEYS = (b'content"', b'text"', b'input"', b'output"', b'arguments"')


def estimate_tokens(body: bytes) -> int:
    """Estimate the tokens of a request's JSON body, at least 1.

    Within about a quarter for prose, code, JSON and CJK, escaped or not; base64
    attachments count as a constant each.
    """
    if len(body) <= _WHOLE_BYTES:
        return max(1, round(_count(body) - _ENVELOPE_TOKENS))
    spans, attachments, seen = [(0, len(body))], 0, len(body)
    sample = _sample(body, spans)
    if _RUN in sample.translate(_RUN_CLASSES):
        spans, attachments, seen = _text_around_attachments(body)
        sample = _sample(body, spans)
    text = _count(sample) * _length(spans) / max(1, len(sample))
    tokens = (text + attachments * _ATTACHMENT_TOKENS) * len(body) / seen
    return max(1, round(tokens - _ENVELOPE_TOKENS))


def _length(spans: list[tuple[int, int]]) -> int:
    return sum([end - start for start, end in spans])


def _sample(body: bytes, spans: list[tuple[int, int]]) -> bytes:
    """Join pieces spread evenly over *spans*, or all of them if they are short."""
    size = _length(spans)
    if size <= _WHOLE_BYTES:
        return b"".join([body[start:end] for start, end in spans])
    pieces: list[bytes] = []
    due = 0.5
    for start, end in spans:
        due += _PIECES * (end - start) / size
        count = int(due)
        due -= count
        if count:
            part = max(0, end - start - _PIECE_BYTES) // count
            places = [start + (place * part >> 10) for place in _PLACES[:count]]
            pieces += [body[place : place + _PIECE_BYTES] for place in places]
    sample = b" ".join(pieces)
    if b"\\u" in sample:
        # A piece may begin inside of an escape; what is left of one at its end counts nothing.
        sample = b" ".join([piece.lstrip(_ESCAPE_REST) for piece in pieces])
    return sample


def _count(text: bytes) -> float:
    tokens = -_MESSAGE_TOKENS * text.count(b'"role":')
    if not text.isascii() or b"\\u" in text:
        text, wide = _without_wide(text)
        tokens += wide
    letterless = text.translate(None, _LETTERS)
    signs = letterless.translate(None, _DIGITS)
    if len(signs.translate(None, _BASE64)) * _DENSE_SHARE < len(text):
        return tokens + _PER_DENSE * len(text)
    tokens += _PER_LETTER * (len(text) - len(letterless))
    tokens += _PER_DIGIT * (len(letterless) - len(signs))
    return tokens + _weigh(signs, _CHEAP_SIGNS, _PER_SIGN)


def _weigh(text: bytes, classes: tuple[tuple[bytes, float], ...], per_other: float) -> float:
    tokens = 0.0
    for chars, cost in classes:
        if not text:
            break
        rest = text.translate(None, chars)
        tokens += cost * (len(text) - len(rest))
        text = rest
    return tokens + per_other * len(text)


def _without_wide(text: bytes) -> tuple[bytes, float]:
    r"""Take all beyond ASCII out of *text*, `\uXXXX` too; return what it costs."""
    if text.isascii():
        # Halves of a pair, or of an escape that was cut, may be left out.
        text = text.decode("raw_unicode_escape", "ignore").encode("utf-8", "surrogatepass")
    wide = _weigh(text.translate(None, _ASCII), _WIDE, _PER_OTHER)
    return text.translate(None, _BEYOND_ASCII), wide


def _text_around_attachments(body: bytes) -> tuple[list[tuple[int, int]], int, int]:
    """Find the attachments; return the spans of text between, their number, and the bytes seen.

    After so many stops the rest of the body is taken to be like what was seen.
    """
    spans: list[tuple[int, int]] = []
    size = len(body)
    start = attachments = 0
    at = stride = _STRIDE_BYTES
    widest = max(stride, size // _FAR_STRIDES)
    for _ in range(_MOST_STOPS):
        if at >= size:
            break
        if _is_base64(body[at : at + _RUN_BYTES]):
            opening = body.rfind(b'"', start, at) + 1
            at = body.find(b'"', at) % (size + 1)
            if _is_attachment(body, opening):
                spans.append((start, opening))
                attachments += 1
                start = at
            stride = _STRIDE_BYTES
        at += stride
        stride = min(2 * stride, widest)
    seen = min(at, size)
    spans.append((start, max(start, seen)))
    return spans, attachments, seen


def _is_base64(run: bytes) -> bool:
    # Some clients escape the slashes, or break the lines.
    return not run.translate(None, _BASE64 + b"\\") and b"\\u" not in run


def _is_attachment(body: bytes, opening: int) -> bool:
    """Tell whether the string that begins at *opening* is a file, not text that the model reads."""
    head = body[opening : opening + _RUN_BYTES]
    if head.startswith(b"data:"):
        return True
    key = body[max(0, opening - 16) : opening]
    return _is_base64(head) and not any(name in key for name in _TEXT_KEYS)
