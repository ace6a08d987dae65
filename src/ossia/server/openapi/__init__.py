"""The OpenAPI document of the server, made from what the routes say of themselves."""
