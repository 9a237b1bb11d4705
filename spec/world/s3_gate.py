"""Stands before s3rver and does what it leaves out: checks signatures (with awscli's own signer), compares the
signed SHA-256 with what arrives, lists and aborts uploads, and breaks connections when it is told to.

    s3_gate.py PORT BACKEND_PORT FOLDER

FOLDER/cut holds how many bytes of the next part, or object, are taken in before the connection breaks, and how often;
FOLDER/flip makes the server store a wrong byte; FOLDER/log gets a line for each request.
"""
import hashlib
import http.client
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import awscli  # brings its own botocore, under that name
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

assert awscli
KEYS = {"S3RVER": "S3RVER"}
uploads = {}
one_at_a_time = threading.Lock()


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class Signer(S3SigV4Auth):
    """Signs what was received as the sender should have signed it."""

    def __init__(self, credentials, region, signed):
        super().__init__(credentials, "s3", region)
        self.signed = signed

    def headers_to_sign(self, request):
        headers = http.client.HTTPMessage()
        for name in self.signed:
            headers[name] = request.headers.get(name, "")
        return headers

    def payload(self, request):
        return request.headers["X-Amz-Content-SHA256"]


def told(name):
    """The number in the file, once for each time that stands after it."""
    path = os.path.join(folder, name)
    with one_at_a_time:
        if not os.path.exists(path):
            return None
        with open(path) as file:
            value, times = map(int, file.read().split())
        os.remove(path)
        if times > 1:
            with open(path, "w") as file:
                file.write(f"{value} {times - 1}")
        return value


class Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def check_signature(self):
        given = self.headers.get("Authorization", "")
        if not given.startswith("AWS4-HMAC-SHA256 "):
            raise Refused(403, "AccessDenied", "Access Denied")
        fields = dict(part.strip().split("=", 1) for part in given.split(" ", 1)[1].split(","))
        key, _, region, _, _ = fields["Credential"].split("/")
        if key not in KEYS:
            raise Refused(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
        request = AWSRequest(self.command, "http://" + self.headers["Host"] + self.path, dict(self.headers.items()))
        signed = fields["SignedHeaders"].split(";")
        for needed in ("host", "x-amz-content-sha256", "x-amz-date"):
            if needed not in signed:
                raise Refused(403, "AccessDenied", needed + " is not signed")
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = Signer(Credentials(KEYS[key], KEYS[key]), region, signed)
        canonical = signer.canonical_request(request)
        expected = signer.signature(signer.string_to_sign(request, canonical), request)
        if expected != fields["Signature"]:
            raise Refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match: " + canonical)

    def take_body(self):
        size = int(self.headers.get("Content-Length", 0))
        cut = told("cut") if size and "uploads" not in self.path else None
        digest, body = hashlib.sha256(), bytearray()
        while len(body) < size:
            if cut is not None and len(body) >= cut:
                self.close_connection = True
                raise ConnectionAbortedError
            chunk = self.rfile.read(min(65536, size - len(body)))
            if not chunk:
                raise ConnectionAbortedError
            digest.update(chunk)
            body += chunk
        if self.headers["X-Amz-Content-SHA256"] != digest.hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "The provided header does not match what was computed.")
        if size and told("flip") is not None:
            body[0] ^= 1
        return bytes(body)

    def own_answer(self, bucket, key, query):
        """Of what s3rver does not know: a body, or None."""
        if self.command == "GET" and "uploads" in query:
            entries = "".join(
                f"<Upload><Key>{escape(name)}</Key><UploadId>{upload}</UploadId></Upload>"
                for upload, (where, name) in uploads.items() if where == bucket and name.startswith(query.get("prefix", "")))
            return f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{entries}</ListMultipartUploadsResult>"
        if self.command == "DELETE" and "uploadId" in query:
            if uploads.pop(query["uploadId"], None) is None:
                raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
            return ""
        if "uploadId" in query and query["uploadId"] not in uploads:
            raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
        return None

    def pass_on(self, body):
        backend = http.client.HTTPConnection("127.0.0.1", backend_port)
        backend.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("expect", "connection"):
                backend.putheader(name, value)
        backend.endheaders(body)
        return backend.getresponse()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "keep-alive", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket, _, key = unquote(parts.path[1:]).partition("/")
        with open(os.path.join(folder, "log"), "a") as log:
            log.write(f"{self.command} {self.path}\n")
        try:
            self.check_signature()
            body = self.take_body()
            own = self.own_answer(bucket, key, query)
            if own is not None:
                self.answer(200 if own else 204, [], own.encode())
                return
            response = self.pass_on(body)
            if self.command == "GET" and response.status == 200 and key:
                self.stream(response)
                return
            data = response.read()
            if self.command == "POST" and "uploads" in query and response.status == 200:
                uploads[data.decode().split("<UploadId>")[1].split("<")[0]] = (bucket, key)
            if self.command == "POST" and "uploadId" in query and response.status == 200:
                uploads.pop(query["uploadId"])
            self.answer(response.status, response.getheaders(), data)
        except Refused as why:
            self.close_connection = True
            text = f"<Error><Code>{why.code}</Code><Message>{escape(str(why))}</Message></Error>"
            self.answer(why.status, [("Content-Type", "application/xml")], text.encode())
        except ConnectionAbortedError:
            self.close_connection = True

    def stream(self, response):
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "keep-alive"):
                self.send_header(name, value)
        self.end_headers()
        while chunk := response.read(65536):
            self.wfile.write(chunk)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_request

    def log_message(self, *given):
        pass


port, backend_port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
ThreadingHTTPServer(("127.0.0.1", port), Gate).serve_forever()
