"""Studio: the web UI. Its pages call REST, inside the process, as whoever is signed in."""
