"""What stands before the routes, as raw ASGI.

Decisions are on `scope["path"]`: a URL would be made of the Host header, which clients choose.
"""
