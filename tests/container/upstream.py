"""A stand-in upstream for the container test: HTTPS with a certificate of our own.

Usage: upstream.py ADDRESS CERTIFICATE KEY. Prints its port. Answers each request with what arrived;
`delay=SECONDS` in the query waits in the middle of the body.
"""

import http.server
import json
import ssl
import sys
import time
import urllib.parse


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        body = json.dumps({
            "path": self.path,
            "authorization": self.headers.get("Authorization"),
            "origin": self.headers.get("X-Mp-Proxy-Origin"),
        }).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10])
        time.sleep(min(float(query.get("delay", ["0"])[0]), 20))
        self.wfile.write(body[10:])

    def log_message(self, *_):
        pass


address, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, 0), Answer)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
