"""Arguments: host, port, admin port, scheme.  Exits with 0 if a request is answered and the admin port is not there."""

import socket
import ssl
import sys
import urllib.error
import urllib.request

host, port, admin_port, scheme = sys.argv[1:]

# The Service's name is in no certificate that we could ask for.
context = ssl._create_unverified_context()
try:
    status = urllib.request.urlopen(f"{scheme}://{host}:{port}/", timeout=10, context=context).status
except urllib.error.HTTPError as error:
    status = error.code
print(f"answered {status}")
if status >= 500:
    sys.exit(f"{host}:{port} answers {status}")
try:
    socket.create_connection((host, int(admin_port)), timeout=3).close()
except OSError:
    print("no control through the Service")
else:
    sys.exit(f"the admin port {admin_port} is open in the Service")
