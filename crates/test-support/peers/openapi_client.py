"""Uses a client that openapi-python-client has generated from our OpenAPI text.

Arguments: a directory to work in, and the address of the service. Prints what it has found out, as JSON.
"""

import json

from generated_client import generate

models, client, call = generate("/api/3/openapi.json")


def listed(operation, **query):
    """All rows of a list, page by page."""
    rows, cursor = [], None
    while True:
        part = operation.sync(client=client, **query, **({"cursor": cursor} if cursor else {}))
        rows += part.items
        cursor = part.next_ or None
        if not cursor:
            return rows


events = listed(call("events.events_list"))
builds = listed(call("builds.builds_list"), state="DONE", limit=1)
report = call("operations.operations_report").sync(client=client)
unknown = call("events.events_one").sync(client=client, id=404)
# Messages are not sent: for their body, which may be a batch, the generator writes code that always fails.
sent = call("events.events_retry").sync(client=client, id=events[0].id, body=models.Retry.from_dict({"part": "whole"}))
invalid = call("systems.systems_pause").sync(client=client, system="builder", body=models.NewPause.from_dict({"reason": 7}))
call("systems.systems_pause").sync(client=client, system="builder", body=models.NewPause(reason="an outage"))
pauses = call("systems.systems_pauses").sync(client=client)
print(json.dumps({
    "events": [event.id for event in events],
    "builds": [build.id for build in builds],
    "report": [row.event for row in report.items],
    "unknown": unknown.code,
    "invalid": invalid.errors[0].pointer,
    "sent": sent.message_id,
    "paused": [pause.system for pause in pauses.items],
}))
