"""Drives an ODCS with its own client; the only argument is the address. Prints each check, and how many there were."""

import sys
import types

# The client asks for Kerberos even where it is not used, and that package needs headers of the system.
sys.modules["requests_gssapi"] = types.SimpleNamespace(HTTPSPNEGOAuth=None)

import requests
from checks import check, report
from odcs.client.odcs import (
    ODCS,
    AuthMech,
    ComposeSourceBuild,
    ComposeSourceModule,
    ComposeSourcePulp,
    ComposeSourceRawConfig,
    ComposeSourceTag,
)

URL = sys.argv[1]
TOKEN = "token-of-the-peer"


def refused(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except requests.exceptions.HTTPError as error:
        return error.response.status_code
    return None


nobody = ODCS(URL + "/")
client = ODCS(URL + "/", auth_mech=AuthMech.OpenIDC, openidc_token=TOKEN)
about = nobody.about()
check("about, by way of a redirection", about["version"] == "0.9.2" and about["auth_backend"] == "openidc", about)
check("nobody may not ask", refused(nobody.request_compose, ComposeSourceTag("t")) == 401)

sources = [
    ComposeSourceTag("t", packages=["bash"], sigkeys=["K", ""], builds=["a-1-1"]),
    ComposeSourceModule(["nodejs:18"]),
    ComposeSourcePulp(["one", "two"]),
    ComposeSourceRawConfig("pungi_cfg", "c0ffee"),
    ComposeSourceBuild(["a-1-1"]),
]
for source in sources:
    asked = client.request_compose(source, flags=["no_deps"], seconds_to_live=3600, arches=["x86_64"])
    check("asked for " + source.source["type"], asked["state_name"] == "wait" and asked["owner"] == "freshmaker", asked)
    done = client.wait_for_compose(asked["id"], timeout=60)
    check("waited for it", done["state_name"] == "done" and done["flags"] == ["no_deps"], done)

old = client.new_compose("t", "tag", packages=["bash"], results=["boot.iso"], seconds_to_live=60)
check("the older call", old["results"] == ["repository", "boot.iso"], old)
check("it ends", client.wait_for_compose(old["id"], timeout=60)["state_name"] == "done")
renewed = client.renew_compose(old["id"], seconds_to_live=7200)
check("renewed", renewed["id"] == old["id"] and renewed["time_to_expire"] > old["time_to_expire"], renewed)
again = client.renew_compose(old["id"], label="RC-1.0")
check("another label is another compose", again["id"] != old["id"] and again["label"] == "RC-1.0", again)
found = client.find_composes(source_type=1, order_by="-id", per_page=2, page=1)
check("found", [it["id"] for it in found["items"]] == [again["id"], old["id"]] and found["meta"]["total"] == 3, found)
check("none of that state", client.find_composes(state=3)["items"] == [])
check("deleted", client.delete_compose(old["id"])["status"] == 202)
check("and marked so", client.get_compose(old["id"])["removed_by"] == "freshmaker")
check("no such compose", refused(client.get_compose, 999) == 404)
check("a flag that is none", refused(client.request_compose, ComposeSourceTag("t"), flags=["fast"]) == 400)
report()
