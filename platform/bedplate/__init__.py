"""Floor 4: the front door. Workspace, jobs, endpoints, REST, CLI and Python client."""
