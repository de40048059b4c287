"""The OpenAPI document: what can be asked and what is answered, from the routes and schemas that do it."""
