"""`python -m bench.chaos.target raw 8000`: one of the servers that own their process; see `kinds` for the others."""

import sys

from bench.chaos.target import raw, threaded

RUN = {"raw": raw.run, "respawned": raw.run_respawned, "threaded": threaded.run}

if __name__ == "__main__":
    RUN[sys.argv[1]](int(sys.argv[2]))
