"""The management API: `/api/v1`, beside the data plane and apart from it.

What guards it (the key, body sizes, repeated orders) is plain ASGI like the data plane; what is
behind is a FastAPI application, imported when it is first asked for.
"""
