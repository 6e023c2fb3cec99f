"""The pages under Flask's development server."""

from __future__ import annotations

import sys

from flask import Flask, Response, request
from pages import page

app = Flask(__name__)
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]


@app.route("/<path:_path>", methods=METHODS)
def answer(_path: str) -> Response:
    fields = sorted((name, value) for name, value in request.headers.items())
    reply = page(request.method, request.path, request.environ["RAW_URI"], fields, request.get_data())
    response = Response(reply.pieces, status=reply.status, headers=reply.fields)
    if reply.length is not None and reply.status not in (204, 304):
        response.content_length = reply.length
    return response


if __name__ == "__main__":
    app.run(host=sys.argv[1], port=int(sys.argv[2]), debug=False)
