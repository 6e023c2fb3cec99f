"""People and not connections: locust's users with a session, time to think, mixed methods and bodies that grow."""
