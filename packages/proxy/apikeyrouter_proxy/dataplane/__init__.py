"""The data plane: raw ASGI, bytes in and bytes out."""
