"""The example applications: each a handler or two, a page, and a model that needs no key."""
