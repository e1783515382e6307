"""Drives a hub with Koji's own client; the only argument is the hub's URL. Prints each check, and how many there were."""

import sys
import time

import koji
from checks import check, report

URL = sys.argv[1]


def fault(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except error as seen:
        return seen
    return None


def session(**opts):
    return koji.ClientSession(URL, dict({"retry_interval": 0, "timeout": 20}, **opts))


def wait(client, task):
    for _ in range(1000):
        info = client.getTaskInfo(task)
        if koji.TASK_STATES[info["state"]] in ("CLOSED", "FAILED", "CANCELED"):
            return koji.TASK_STATES[info["state"]]
        time.sleep(0.01)
    return "endless"


SOURCE = "git://src.example.com/containers/"
nobody = session()
check("anonymous calls", nobody.getAPIVersion() == 1)
everything = [None, True, -(2**31), 2**40, 1.5, "é<&>\U0001f40b", "", b"\xff", [], {"a": [None]}]
check("values of all types", nobody.echo(*everything)[:7] == everything[:7])
check("nobody may not build", fault(koji.GenericError, nobody.buildContainer, SOURCE + "x#1", "t"))
check("a wrong password", fault(koji.AuthError, session(user="freshmaker", password="no").login))

client = session(user="freshmaker", password="freshpw")
check("login", client.login() and client.getLoggedInUser()["name"] == "freshmaker")
options = {"git_branch": "rhel-9", "release": "1.17", "userdata": {"fm_attempt": "m1"}}
task = client.callMethod("buildContainer", SOURCE + "nginx#abc", "rhel-9-containers", options)
check("a build is watched to its end", wait(client, task) == "CLOSED")
check("its result", client.getTaskResult(task)["koji_builds"] == [str(client.getBuild("nginx-container-1.0-1.17")["id"])])
check("its request", client.getTaskRequest(task) == [SOURCE + "nginx#abc", "rhel-9-containers", options])
found = client.listTasks(
    {"method": "buildContainer", "owner": client.getLoggedInUser()["id"], "parent": None, "state": list(range(6)),
     "createdAfter": time.time() - 86400, "decode": True},
    {"order": "id", "limit": 500})
check("the marker is found", [it["id"] for it in found if it["request"][2]["userdata"]["fm_attempt"] == "m1"] == [task], found)

broken = client.buildContainer(SOURCE + "broken#1", "rhel-9-containers", {})
wait(client, broken)
check("the builder's fault", str(fault(koji.BuildError, client.getTaskResult, broken)) == "it does not compile")
check("the fault as a value", client.getTaskResult(broken, raise_fault=False)["faultCode"] == 1005)

endless = client.buildContainer(SOURCE + "endless#1", "rhel-9-containers", {})
client.cancelTask(endless)
check("a cancelled build", wait(client, endless) == "CANCELED")

with client.multicall() as several:
    answers = [several.getTaskInfo(id, strict=True) for id in (task, 987654)]
# The client raises on access, as the hub answered each.
check("calls in one", answers[0].result["id"] == task and fault(koji.GenericError, lambda: answers[1].result))

check("lost requests are repeated", client.getKojiVersion() == "1.35.3")
check("an outage is waited for", client.getAPIVersion() == 1 and session(offline_retry=True, offline_retry_interval=0).getAPIVersion() == 1)
lost = fault(koji.RetryError, client.resubmitTask, broken)
check("a lost answer of a change is told", lost is not None, lost)

other = session(user="freshmaker", password="freshpw")
other.login()
other.logout(client.sinfo["session-id"])
check("a closed session", fault(koji.AuthError, client.getLoggedInUser))
other.logout()
check("a logged out session", not other.logged_in)
report()
