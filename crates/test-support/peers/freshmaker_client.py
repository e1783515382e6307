"""Uses a client that openapi-python-client has generated from the OpenAPI text of Freshmaker's REST, version 2.

Arguments: a directory to work in, and the address of the service. Prints what it has found out, as JSON.
"""

import json

from generated_client import generate

models, client, call = generate("/api/2/openapi.json")
posted = call("builds.builds_manual").sync(client=client, body=models.NewRebuild(errata_id=7, dry_run=False, metadata=None))
listed = call("events.events_list").sync(client=client, state=["building"], per_page=5)
one = call("events.events_one").sync(client=client, id=posted.id, show_full_json=["True"])
canceled = call("events.events_patch").sync(client=client, id=posted.id, body=models.NewAction(action="cancel"))
again = call("events.events_patch").sync(client=client, id=posted.id, body=models.NewAction(action="cancel"))
unknown = call("events.events_one").sync(client=client, id=404)
print(json.dumps({
    "posted": [posted.id, posted.state_name, posted.search_key],
    "listed": [event.id for event in listed.items],
    "total": listed.meta.total,
    "summary": listed.items[0].builds_summary.to_dict(),
    "builds": [[build.name, build.state_name, build.event_id] for build in one.builds],
    "canceled": canceled.state_name,
    "again": again.message,
    "unknown": [unknown.status, unknown.message],
}))
