# usage: mail.py PORT FOLDER MODE [CERT KEY]: a mail server (aiosmtpd) that writes each message it takes to FOLDER/N.json.
# MODE: plain, starttls, smtps; user "ops", password "s3same-mail" or token "s3same-token" where
# TLS is. Recipients that begin with "nobody" are refused,
# "later" is refused once, "hangup" cuts the connection instead of answering the message.
import asyncio
import base64
import json
import os
import ssl
import sys
from email import policy
from email.parser import BytesParser

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

port, folder, mode = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = None
if mode != "plain":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[4], sys.argv[5])


class Handler:
    taken = 0
    delayed = False

    async def auth_XOAUTH2(self, server, args):
        token = base64.b64decode(args[1]) if len(args) > 1 else await server.challenge_auth("")
        if token == b"user=ops\x01auth=Bearer s3same-token\x01\x01":
            return AuthResult(success=True, auth_data="ops by token")
        return AuthResult(success=False, handled=False)

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("later") and not Handler.delayed:
            Handler.delayed = True
            return "451 4.7.1 greylisted, come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if any(to.startswith("hangup") for to in envelope.rcpt_tos):
            server.transport.abort()
            return "421 gone"
        message = BytesParser(policy=policy.default).parsebytes(envelope.content)
        parts = {p.get_content_subtype(): p.get_content() for p in message.walk() if p.get_content_maintype() == "text"}
        Handler.taken += 1
        with open("%s/%d.json.new" % (folder, Handler.taken), "w") as file:
            json.dump({"from": envelope.mail_from, "to": envelope.rcpt_tos,
                       "tls": server.transport.get_extra_info("ssl_object") is not None, "login": session.auth_data, "headers": {k.lower(): str(v) for k, v in message.items()}, "parts": parts,
                       "raw": envelope.content.decode("utf-8", "replace")}, file)
        os.rename("%s/%d.json.new" % (folder, Handler.taken), "%s/%d.json" % (folder, Handler.taken))
        return "250 2.0.0 Ok: queued as 4D1"


def authenticator(server, session, envelope, mechanism, data):
    if isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"s3same-mail"):
        return AuthResult(success=True, auth_data="ops")
    return AuthResult(success=False, handled=False)


async def main():
    loop = asyncio.get_running_loop()
    handler = Handler()

    def protocol():
        return SMTP(handler, enable_SMTPUTF8=True, loop=loop, authenticator=authenticator, auth_required=mode != "plain",
                    auth_require_tls=mode == "starttls", tls_context=context if mode == "starttls" else None,
                    require_starttls=mode == "starttls")

    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if mode == "smtps" else None)
    print("up", flush=True)
    await server.serve_forever()


asyncio.run(main())
