"""A listener of another make: Eclipse Cyclone DDS, without ROS and without our code.

    python peer.py KIND:TOPIC ...       KIND: a type in dds_types.py

It says {"ready": true} when it listens, then prints each message that comes as a line of JSON:
{"topic", "t" (monotonic clock [s]), "message"}. It ends when its standard input does. Needs `cyclonedds`, in the
environment ROS_DOMAIN_ID and, as CYCLONEDDS_URI, the network.
"""

import json
import os
import sys
import threading
import time
from dataclasses import asdict, is_dataclass
from pathlib import Path

# For CYCLONEDDS_URI: this machine only.
LOCAL_ONLY = """<CycloneDDS><Domain>
<General><AllowMulticast>false</AllowMulticast>
<Interfaces><NetworkInterface address="127.0.0.1" multicast="false"/></Interfaces></General>
<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>31</MaxAutoParticipantIndex>
<Peers><Peer address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>"""


def plain(value: object) -> object:
    """A message as JSON has it; bytes as their number."""
    if is_dataclass(value):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def listen(subscriptions: list[str]) -> None:
    """Print what comes until standard input ends."""
    from cyclonedds.core import Policy, Qos
    from cyclonedds.domain import DomainParticipant
    from cyclonedds.sub import DataReader
    from cyclonedds.topic import Topic
    from cyclonedds.util import duration

    sys.path.insert(0, str(Path(__file__).parent))
    import dds_types

    participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))
    quality = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(100))
    readers = {}
    for text in subscriptions:
        kind, _, topic = text.partition(":")
        of = Topic(participant, "rt" + topic, getattr(dds_types, kind))  # ROS topics begin with rt
        readers[topic] = of.data_type, DataReader(participant, of, qos=quality)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    say({"ready": True})
    while not ended.wait(0.005):
        for topic, (kind, reader) in readers.items():
            for message in reader.take(100):
                if isinstance(message, kind):  # others tell that a writer went
                    say({"topic": topic, "t": time.monotonic(), "message": plain(message)})


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    listen(sys.argv[1:])
