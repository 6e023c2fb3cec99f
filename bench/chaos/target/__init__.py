"""The application under chaos: counters, registers and lists, on several kinds of servers, that misbehaves on order."""
