"""How many tokens a request's body makes, about, without a tokenizer.

Counts classes of characters in the raw JSON: words and their letters, digits,
signs, CJK and other scripts each cost what they cost on average. A long body is sampled.
What is off is corrected by what the provider reports, per provider and model.
"""

import re

_WHOLE_BYTES = 8192
_SAMPLES = 8
#: Average tokens for one word and for each of its letters (common words are short, long ones are
#: split), for one digit and one sign; fitted to o200k_base on prose, code and JSON.
_PER_WORD, _PER_LETTER, _PER_DIGIT, _PER_SIGN = 0.5, 0.17, 0.8, 0.47
#: For one CJK character, one letter of another script.
_PER_CJK, _PER_OTHER = 0.75, 0.28
#: What the JSON around the text seems to cost but does not: once, and for each message.
_ENVELOPE_TOKENS, _MESSAGE_TOKENS = 10.0, 7.0
#: Tokens of one embedded image or file, whatever its size in bytes.
_ATTACHMENT_TOKENS = 765
#: Strings are looked at this often; a shorter attachment may count as text.
_STRIDE_BYTES = 2048
_RUN_BYTES = 256

_LETTERS = frozenset(range(65, 91)) | frozenset(range(97, 123))
_BASE64 = bytes(sorted(_LETTERS | frozenset(b"0123456789+/-_=")))
#: Accented Latin letters are part of their word.
_ACCENTED = re.compile(rb"[\xc3-\xc5][\x80-\xbf]")
_ESCAPED_ACCENTED = re.compile(rb"\\u0(?:0[cCdDeEfF]|1[0-7])[0-9a-fA-F]")
_ESCAPED_CJK = re.compile(rb"\\u(?:[3-9]|[aA][cC-fF]|[bBcC]|[dD][0-7])[0-9a-fA-F]{2,3}")
_ESCAPED_OTHER = re.compile(rb"\\u[0-9a-fA-F]{4}")


def _class_of(byte: int) -> str:
    """Name a byte's class: `w`ord, `d`igit, `s`ign, `c`JK, `o`ther letter, or a blank for none."""
    if byte in _LETTERS:
        return "w"
    if byte < 0x80:
        return "d" if 48 <= byte < 58 else " " if byte <= 32 else "s"
    # A character beyond ASCII counts once, by its first byte.
    return "c" if 0xE3 <= byte <= 0xED else "o" if byte >= 0xC2 else " "


_CLASSES = "".join(map(_class_of, range(256))).encode()
_WORDS = bytes(byte if byte == ord("w") else ord(" ") for byte in _CLASSES)


def estimate_tokens(body: bytes) -> int:
    """Estimate the tokens of a request's JSON body, at least 1.

    Within about a quarter for prose, code, JSON and CJK, escaped or not; base64
    attachments count as a constant each. Beyond 8 KB samples are counted, so
    that a long body costs little more than a short one.
    """
    size = len(body)
    if size <= _STRIDE_BYTES:
        return max(1, round(_count(body) - _ENVELOPE_TOKENS))
    body, attachments = _without_attachments(body)
    size = len(body)
    text = _count(body) if size <= _WHOLE_BYTES else _count_samples(body)
    return max(1, round(text - _ENVELOPE_TOKENS) + attachments * _ATTACHMENT_TOKENS)


def _count_samples(body: bytes) -> float:
    """Count pieces spread evenly from the first byte to the last, and scale."""
    piece = _WHOLE_BYTES // _SAMPLES
    step = (len(body) - piece) // (_SAMPLES - 1)
    sample = b"".join([body[i * step : i * step + piece] for i in range(_SAMPLES)])
    return _count(sample) * len(body) / len(sample)


def _count(text: bytes) -> float:
    tokens = -_MESSAGE_TOKENS * text.count(b'"role"')
    if b"\\" in text:
        text, escaped = _unescaped(text)
        tokens += escaped
    is_ascii = text.isascii()
    if not is_ascii:
        text = _ACCENTED.sub(b"e", text)
    classes = text.translate(_CLASSES)
    words = text.translate(_WORDS).count(b" w") + classes.startswith(b"w")
    tokens += _PER_WORD * words + _PER_LETTER * classes.count(b"w")
    tokens += _PER_DIGIT * classes.count(b"d") + _PER_SIGN * classes.count(b"s")
    if is_ascii:
        return tokens
    return tokens + _PER_CJK * classes.count(b"c") + _PER_OTHER * classes.count(b"o")


def _unescaped(text: bytes) -> tuple[bytes, float]:
    r"""Take JSON's escapes out of *text*; return what `\uXXXX` among them costs."""
    text = text.replace(b'\\"', b'"').replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    if b"\\u" not in text:
        return text, 0.0
    text = _ESCAPED_ACCENTED.sub(b"e", text)
    text, cjk = _ESCAPED_CJK.subn(b" ", text)
    text, other = _ESCAPED_OTHER.subn(b" ", text)
    return text, _PER_CJK * cjk + _PER_OTHER * other


def _without_attachments(body: bytes) -> tuple[bytes, int]:
    """Cut out long strings of base64, found by hopping from quote to quote."""
    parts: list[bytes] = []
    start = at = 0
    size = len(body)
    while (at := at + _STRIDE_BYTES) < size:
        quote = body.find(b'"', at)
        if quote < 0:
            break
        if quote - at < _RUN_BYTES:
            continue
        run = body[quote - _RUN_BYTES : quote].replace(b"\\/", b"/")
        if not run.translate(None, _BASE64):
            parts.append(body[start : body.rfind(b'"', 0, at) + 1])
            start = quote
        # A string is base64 to its end or not at all.
        at = quote
    if not parts:
        return body, 0
    return b"".join((*parts, body[start:])), len(parts)
