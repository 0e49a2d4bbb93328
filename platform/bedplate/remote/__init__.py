"""The objects of a workspace, each with the requests that it makes; `bedplate.client` is the door to them."""
