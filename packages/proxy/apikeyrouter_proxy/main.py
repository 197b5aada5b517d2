"""`uvicorn apikeyrouter_proxy.main:app`: the service as the environment configures it."""

from apikeyrouter_proxy.app import create_app

app = create_app()
