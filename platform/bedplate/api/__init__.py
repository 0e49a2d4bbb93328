"""REST: one module a resource, each a `Routes` whose every route declares who may call it."""
