"""Media inside of `data:` addresses."""


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return MIME type and base64 of a `data:` address; `None` if *url* is another."""
    if not url.startswith("data:"):
        return None
    head, _, data = url[5:].partition(",")
    mime = head.removesuffix(";base64")
    return mime.partition(";")[0], data


def data_url(mime: str, data: str) -> str:
    """Return the address that holds *data*, which is base64."""
    return f"data:{mime};base64,{data}"
