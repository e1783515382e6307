"""The reference client of Fedora Messaging, as a peer. Its configuration is the file in FEDORA_MESSAGING_CONF.

    publish             publishes a message, and prints its id
    consume COUNT       prints so many messages as JSON, one a line
"""

import json
import sys

from fedora_messaging import api, message
from fedora_messaging.exceptions import HaltConsumer


def publish():
    sent = message.Message(
        topic="peer.said", body={"text": "smörgåsbord"}, severity=message.ERROR, headers={"own": {"nested": [1, True]}}
    )
    api.publish(sent)
    print(sent.id)


def consume(count):
    left = count

    def callback(came):
        nonlocal left
        left -= 1
        shown = {
            "id": came.id,
            "topic": came.topic,
            "body": came.body,
            "severity": came.severity,
            "schema": type(came).__name__,
            "headers": came._headers,
        }
        print(json.dumps(shown), flush=True)
        if left == 0:
            raise HaltConsumer(exit_code=0, requeue=False)

    try:
        api.consume(callback)
    except HaltConsumer:
        pass


if sys.argv[1] == "publish":
    publish()
else:
    consume(int(sys.argv[2]))
