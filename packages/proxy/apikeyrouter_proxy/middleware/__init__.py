"""What is asked of, and added to, every request whatever its endpoint.

Plain functions over headers, called where a request is dispatched: a wrapper
around the application would cost each request another coroutine.
"""
