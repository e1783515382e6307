"""Reads profiles as Koji's own client does, and logs in to nothing with them.

Gets a JSON list of `{root, home, profile}` from standard input: what is in front of `/etc`, and the home of the user. Prints a list with what
was read and how the client would log in, or with the error.
"""

import contextlib
import inspect
import io
import json
import os
import sys
from urllib.parse import urlsplit

import koji
from koji_cli import lib

# The only change: the client looks below another root.
SOURCE = inspect.getsource(koji.read_config).replace("'/etc/", "ROOT + '/etc/")
assert SOURCE.count("ROOT + ") == 2

lib.ensure_connection = lambda session, options=None: None


class Session:
    """Remembers how somebody logs in."""

    def __init__(self, options):
        self.options = options
        self.logged_in = False
        self.login_by = {"login": "noauth"}

    def entered(self, **by):
        self.logged_in = True
        self.login_by = by

    def ssl_login(self, cert, ca, serverca, proxyuser=None):
        if not cert:
            raise koji.AuthError("No client cert provided")
        self.entered(login="ssl", cert=cert)

    def login(self):
        if not self.options["user"] or not self.options["password"]:
            raise koji.AuthError("no user, or no password")
        self.entered(login="password", user=self.options["user"], password=self.options["password"])

    def gssapi_login(self, proxyuser=None, principal=None, keytab=None):
        self.entered(login="kerberos", principal=principal, keytab=keytab)


def read(root, home, profile, config=None):
    os.environ["HOME"] = home
    parsers = []

    def read_config_files(*args, **kwargs):
        parsers.append(koji.read_config_files(*args, **kwargs))
        return parsers[-1]

    names = dict(vars(koji), ROOT=root, read_config_files=read_config_files)
    exec(SOURCE, names)
    options = names["read_config"](profile, user_config=config)
    # The command line has options for these; here they are in the profile.
    for name in ("user", "password"):
        options[name] = parsers[0].get(profile, name, fallback=None)
    session = Session(options)
    lib.activate_session(session, options)
    shown = {name: options[name] for name in ("server", "topurl", "weburl", "timeout", "serverca", "no_ssl_verify")}
    if session.login_by["login"] in ("ssl", "kerberos"):
        server = urlsplit(shown["server"])
        if server.scheme != "https":
            shown["server"] = f"https://{server.netloc}{server.path}"
    return {**shown, **session.login_by}


def outcome(machine):
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            return read(**machine)
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error} {said.getvalue()}"}


json.dump([outcome(machine) for machine in json.load(sys.stdin)], sys.stdout)
