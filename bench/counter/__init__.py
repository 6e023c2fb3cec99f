"""The example application: named counters that live in memory only, and are gone when the process dies."""
